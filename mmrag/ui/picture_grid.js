// Draws pictures as buttons. All text goes through textContent, so data is never markup.
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function hidden(element) {
  element.setAttribute("aria-hidden", "true");
  return element;
}

// One stop for Tab; the arrows go from picture to picture.
function walk(event) {
  const tiles = [...event.currentTarget.querySelectorAll(".tile")];
  const at = tiles.indexOf(event.target.closest(".tile"));
  const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -at, End: tiles.length - 1 - at };
  const beside = tiles.filter((one) => one.offsetTop === tiles[0].offsetTop).length;
  const step = { ...steps, ArrowDown: beside, ArrowUp: -beside }[event.key];
  const next = tiles[at + step];
  if (at < 0 || step === undefined || !next) return;
  event.preventDefault();
  tiles[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function tile(item, select) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `tile ${item.mark ?? ""}`;
  button.onclick = () => select(item.id);
  if (item.src) {
    const picture = document.createElement("img");
    picture.className = "picture";
    picture.src = item.src;
    // Its name: what stands below it is for the eye.
    picture.alt = item.label;
    picture.loading = "lazy";
    button.append(picture);
  } else {
    button.append(span("missing", item.missing), span("said", item.label));
  }
  if (item.tip) button.append(hidden(span("tip", item.tip)));
  if (item.badge || item.score) {
    const foot = document.createElement("div");
    foot.className = "foot";
    if (item.badge) foot.append(span("badge", item.badge));
    if (item.moved > 0) foot.append(span("up", `▲${item.moved}`));
    if (item.moved < 0) foot.append(span("down", `▼${-item.moved}`));
    if (item.mark) foot.append(span("mark", { right: "✓", wrong: "✗", unjudged: "·" }[item.mark]));
    if (item.score) foot.append(span("score", item.score));
    button.append(hidden(foot));
  }
  if (item.caption) button.append(span("caption", item.caption));
  return button;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--tile", `${data.tile}px`);
  const select = (id) => setTriggerValue("chosen", id);
  grid.replaceChildren(...data.items.map((item) => tile(item, select)));
  [...grid.children].forEach((one, at) => { one.tabIndex = at ? -1 : 0; });
  grid.onkeydown = walk;
}
