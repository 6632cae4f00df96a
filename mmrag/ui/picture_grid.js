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

// A dialog that a tile opened gives the focus back to it; the browser alone would forget where.
function returnFocus(grid, id) {
  let opened = false;
  const look = new MutationObserver(() => {
    const open = document.querySelector("[data-testid=stDialog]") !== null;
    opened ||= open;
    if (!opened || open) return;
    look.disconnect();
    requestAnimationFrame(() => {
      if (document.activeElement === document.body) named(grid, id)?.focus();
    });
  });
  look.observe(document.body, { childList: true, subtree: true });
  setTimeout(() => opened || look.disconnect(), 10000);
}

function named(grid, id) {
  return [...grid.querySelectorAll(".tile")].find((one) => one.dataset.id === id);
}

function tile(item, select) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `tile ${item.mark ?? ""}`;
  button.dataset.id = item.id;
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

// Words of the visitor's on the pictures: sent together, again until the server has stored them.
const judged = new WeakMap();
const GRADES = [
  { grade: 2, key: "3", name: "Right", sign: "✓" },
  { grade: 1, key: "2", name: "Partly", sign: "~" },
  { grade: 0, key: "1", name: "Wrong", sign: "✗" },
];

function judging(grid, data, setStateValue) {
  const held = judged.get(grid) ?? { words: [], number: 0, sent: 0 };
  judged.set(grid, held);
  const stored = data.judging.stored;
  held.number = Math.max(held.number, stored);
  held.words = held.words.filter((word) => word.n > stored);
  // What was said here after the server drew the page.
  for (const word of held.words) {
    const item = data.items.find((one) => one.id === word.image);
    if (item && word.of === data.judging.of && !word.undo) item.grade = word.grade;
  }
  const send = () => {
    if (!held.words.length || held.sent >= held.words[0].n) return;
    held.sent = held.number;
    setStateValue("words", held.words.slice());
  };
  const say = (word) => {
    held.number += 1;
    held.words.push({ n: held.number, of: data.judging.of, ...word });
    send();
  };
  send();
  return say;
}

function choices(item, say) {
  const row = document.createElement("div");
  row.className = "grades";
  for (const { grade, key, name, sign } of GRADES) {
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = -1;
    button.className = `grade g${grade}`;
    button.textContent = sign;
    button.title = `${name} (${key})`;
    button.setAttribute("aria-label", `${name}: ${item.label}`);
    button.dataset.grade = grade;
    button.onclick = () => say(item, item.grade === grade ? null : grade);
    row.append(button);
  }
  return row;
}

function press(row, grade) {
  for (const button of row.children) {
    button.setAttribute("aria-pressed", String(button.dataset.grade === String(grade)));
  }
}

// A tile with its three buttons; 1 2 3 judge the picture that has the focus, 0 clears, u undoes.
function judgedTile(item, select, tell) {
  const whole = document.createElement("div");
  whole.className = "judged";
  const picture = tile(item, select);
  const say = (_, grade) => {
    item.grade = grade;
    press(row, grade);
    tell({ image: item.id, grade });
  };
  const row = choices(item, say);
  press(row, item.grade);
  whole.append(picture, row);
  picture.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = GRADES.find((one) => one.key === event.key);
    if (choice) say(item, choice.grade);
    else if (event.key === "0") say(item, null);
    else if (event.key === "u") tell({ image: item.id, undo: true });
    else return;
    event.preventDefault();
  });
  return whole;
}

export default function ({ data, parentElement, setTriggerValue, setStateValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--tile", `${data.tile}px`);
  const select = (id) => {
    returnFocus(grid, id);
    setTriggerValue("chosen", id);
  };
  const active = grid.getRootNode().activeElement;
  const focused = grid.contains(active) ? active.closest(".tile")?.dataset.id : undefined;
  const tell = data.judging ? judging(grid, data, setStateValue) : null;
  grid.replaceChildren(
    ...data.items.map((item) => (tell ? judgedTile(item, select, tell) : tile(item, select))),
  );
  const tiles = [...grid.querySelectorAll(".tile")];
  const place = Math.max(0, tiles.findIndex((one) => one.dataset.id === focused));
  tiles.forEach((one, at) => { one.tabIndex = at === place ? 0 : -1; });
  if (focused !== undefined && tiles[place]?.dataset.id === focused) tiles[place].focus();
  grid.onkeydown = walk;
}
