export default function ({ parentElement, setTriggerValue }) {
  const field = parentElement.querySelector(".paste");
  const prompt = "Paste a picture here (Ctrl+V)";
  field.textContent = prompt;
  field.onpaste = (event) => {
    event.preventDefault();
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith("image/"));
    if (!file) {
      field.textContent = "The clipboard holds no picture";
      return;
    }
    const reader = new FileReader();
    reader.onload = () => setTriggerValue("pasted", reader.result.split(",", 2)[1]);
    reader.readAsDataURL(file);
  };
}
