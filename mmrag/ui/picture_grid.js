// Draws pictures as buttons. All text goes through textContent, so data is never markup.
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function tile(item, select) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `tile ${item.mark ?? ""}`;
  button.setAttribute("aria-label", item.label);
  button.onclick = () => select(item.id);
  if (item.src) {
    const picture = document.createElement("img");
    picture.className = "picture";
    picture.src = item.src;
    picture.alt = "";
    picture.loading = "lazy";
    button.append(picture);
  } else {
    button.append(span("missing", item.missing));
  }
  if (item.tip) button.append(span("tip", item.tip));
  if (item.badge || item.score) {
    const foot = document.createElement("div");
    foot.className = "foot";
    if (item.badge) foot.append(span("badge", item.badge));
    if (item.moved > 0) foot.append(span("up", `▲${item.moved}`));
    if (item.moved < 0) foot.append(span("down", `▼${-item.moved}`));
    if (item.mark) foot.append(span("mark", item.mark === "right" ? "✓" : "✗"));
    if (item.score) foot.append(span("score", item.score));
    button.append(foot);
  }
  if (item.caption) button.append(span("caption", item.caption));
  return button;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--tile", `${data.tile}px`);
  const select = (id) => setTriggerValue("chosen", id);
  grid.replaceChildren(...data.items.map((item) => tile(item, select)));
}
