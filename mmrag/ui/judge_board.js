// One picture after the other, judged by key, click or thumb. The next one is shown at once; words
// go to the server behind it. All text goes through textContent, so data is never markup.
const boards = new WeakMap();
const GRADES = [
  { grade: 0, key: "1", name: "Wrong" },
  { grade: 1, key: "2", name: "Partly" },
  { grade: 2, key: "3", name: "Right" },
];

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function picture(src, alt, className) {
  if (!src) return make("div", `${className} missing`, "cannot be read");
  const image = make("img", className);
  image.src = src;
  image.alt = alt;
  return image;
}

class Board {
  constructor(root) {
    this.root = root;
    this.words = [];
    this.given = [];
    this.number = 0;
    this.sent = 0;
    this.place = 0;
    this.items = [];
  }

  // New data from the server: what it has stored, and what comes next.
  update(data, setStateValue) {
    this.setStateValue = setStateValue;
    const fresh = this.session !== data.session;
    if (fresh) {
      this.session = data.session;
      this.words = [];
      this.given = [];
      this.number = this.sent = data.stored;
    }
    this.words = this.words.filter((word) => word.n > data.stored);
    const here = fresh ? undefined : this.items[this.place];
    this.items = data.queries.flatMap((query) => query.images.map((image) => ({ query, image })));
    // What was said here after the server read its files.
    const said = new Map(this.given.map((word) => [`${word.query}\t${word.image}`, word.grade]));
    for (const { query, image } of this.items) {
      const key = `${query.id}\t${image.id}`;
      if (said.has(key)) image.grade = said.get(key);
    }
    this.left = data.left;
    this.base = this.given.length;
    this.place = here
      ? this.items.findIndex((one) => one.query.id === here.query.id && one.image.id === here.image.id)
      : -1;
    if (this.place < 0) this.place = this.items.findIndex((one) => one.image.grade === null);
    this.draw();
    this.send();
  }

  send() {
    // One message under way at a time; what comes meanwhile goes with the next.
    if (!this.words.length || this.sent >= this.words[0].n) return;
    this.sent = this.number;
    this.setStateValue("words", this.words.slice());
  }

  judge(grade) {
    const item = this.items[this.place];
    if (!item) return;
    item.image.grade = grade;
    this.say(item, grade);
    if (grade !== null) this.next();
    this.draw();
    this.send();
  }

  say(item, grade) {
    this.number += 1;
    const word = { n: this.number, query: item.query.id, image: item.image.id, grade };
    this.words.push(word);
    this.given.push(word);
  }

  next() {
    const open = (one) => one.image.grade === null;
    const later = this.items.findIndex((one, i) => i > this.place && open(one));
    this.place = later >= 0 ? later : this.items.findIndex(open);
  }

  undo() {
    const last = this.given.findLast((word) => word.grade !== null && !word.undone);
    if (!last) return;
    last.undone = true;
    const place = this.items.findIndex(
      (one) => one.query.id === last.query && one.image.id === last.image,
    );
    if (place >= 0) {
      this.place = place;
      this.judge(null);
    } else {
      this.say({ query: { id: last.query }, image: { id: last.image } }, null);
      this.send();
    }
  }

  move(step) {
    if (!this.items.length) return;
    const at = this.place < 0 ? this.items.length - 1 : this.place + step;
    this.place = Math.min(Math.max(at, 0), this.items.length - 1);
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0];
    if (target.closest?.("input, textarea, select, [contenteditable], [role=combobox]")) return;
    const choice = GRADES.find((one) => one.key === event.key);
    if (choice) this.judge(choice.grade);
    else if (event.key === "0") this.judge(null);
    else if (event.key === "u") this.undo();
    else if (event.key === "ArrowRight" || event.key === "ArrowDown") this.move(1);
    else if (event.key === "ArrowLeft" || event.key === "ArrowUp") this.move(-1);
    else return;
    event.preventDefault();
  }

  draw() {
    const item = this.items[this.place];
    const given = this.given.filter((word) => word.grade !== null && !word.undone).length;
    const status = make("p", "status", item ? `${Math.max(this.left - this.unstored(), 0)} left, ${given} judged in this visit` : "");
    status.setAttribute("role", "status");
    if (!item) {
      const done = this.left - this.unstored() <= 0;
      this.root.replaceChildren(make("p", "over", done ? "Nothing is left to judge." : "Fetching more …"));
      return;
    }
    const { query, image } = item;
    const asked = make("section", "asked");
    asked.setAttribute("aria-label", "The query");
    if (query.picture !== null) asked.append(picture(query.picture, "The query's picture", "query"));
    if (query.text) asked.append(make("p", "instruction", query.text));
    if (query.note) asked.append(make("p", "note", query.note));

    const shown = make("section", "shown");
    shown.setAttribute("aria-label", "The picture to judge");
    shown.append(picture(image.src, image.label, "candidate"));
    shown.append(make("p", "label", image.label));

    const choices = make("div", "choices");
    for (const one of GRADES) {
      const button = make("button", `choice g${one.grade}`, `${one.name} `);
      button.type = "button";
      button.append(make("kbd", "", one.key));
      button.setAttribute("aria-pressed", String(image.grade === one.grade));
      button.onclick = () => this.judge(one.grade);
      choices.append(button);
    }
    const back = make("button", "choice undo", "Undo ");
    back.type = "button";
    back.append(make("kbd", "", "u"));
    back.onclick = () => this.undo();
    choices.append(back);

    const strip = make("div", "strip");
    this.items.forEach((one, i) => {
      if (one.query.id !== query.id) return;
      const button = make("button", `small ${i === this.place ? "here" : ""} g${one.image.grade ?? "none"}`);
      button.type = "button";
      const grade = GRADES.find((g) => g.grade === one.image.grade);
      button.setAttribute("aria-label", `${one.image.label}: ${grade ? grade.name.toLowerCase() : "not judged"}`);
      if (i === this.place) button.setAttribute("aria-current", "true");
      button.append(picture(one.image.src, "", "thumb"));
      button.append(make("span", "mark", ["✗", "~", "✓"][one.image.grade] ?? " "));
      button.onclick = () => {
        this.place = i;
        this.draw();
      };
      strip.append(button);
    });
    const board = make("div", "board");
    board.append(asked, shown);
    this.root.replaceChildren(status, board, choices, strip);
  }

  unstored() {
    // Pictures that were open when the server counted and are judged by now.
    const now = new Map();
    for (const word of this.words) now.set(`${word.query}\t${word.image}`, word.grade);
    return [...now.values()].filter((grade) => grade !== null).length;
  }
}

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".judge");
  let board = boards.get(root);
  if (!board) {
    board = new Board(root);
    boards.set(root, board);
    board.onKey = (event) => board.key(event);
    document.addEventListener("keydown", board.onKey);
  }
  board.update(data, setStateValue);
  return () => document.removeEventListener("keydown", board.onKey);
}
