// A key that leads into a field of the page, and Escape that leads out of it again.
const known = new WeakSet();

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".field-key");
  if (known.has(root)) return;
  known.add(root);
  const onKey = (event) => {
    const field = document.querySelector(data.field);
    if (!field || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0];
    if (target === field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (event.key !== data.key) return;
    if (target.closest?.("input, textarea, select, [contenteditable], [role=combobox]")) return;
    event.preventDefault();
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  };
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}
