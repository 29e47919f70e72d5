"use strict";

// Tables: a heading sorts by its column, first the better end up, then the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.querySelectorAll("th > button")) {
    button.addEventListener("click", () => sort(table, button.parentElement));
  }
}

function sort(table, head) {
  const column = Number(head.dataset.column);
  const turned = {ascending: "descending", descending: "ascending"};
  const order = turned[head.getAttribute("aria-sort")] ?? head.dataset.first;
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column]?.dataset.value;
  const compare = (a, b) =>
    column === 0 ? a.localeCompare(b, undefined, {numeric: true}) : Number(a) - Number(b);
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, two) => {
    const [a, b] = [value(one), value(two)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // last
    return sign * compare(a, b);
  });
  body.append(...rows);
  const title = head.dataset.title ?? "method";
  const status = table.parentElement.nextElementSibling;
  status.textContent = `Sorted by ${title}, ${order === "ascending" ? "lowest" : "highest"} first.`;
}

// Commands: copied, or selected where a browser doesn't let a page copy.
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// Pictures: a few rows at first; all of them where there is no script.
const FIRST = 4;
const [more, later] = [
  document.getElementById("more"), [...document.querySelectorAll(".grid tbody tr")].slice(FIRST),
];
if (later.length > 1) {
  for (const element of [more, ...later]) element.hidden = !element.hidden;
}

function reveal() {
  more.hidden = true;
  for (const row of later) row.hidden = false;
}

more?.addEventListener("click", () => {
  reveal();
  later[0].querySelector("button")?.focus();
});

// A picture: a dialog with two of them, one cut off at a line.
const {columns, rows} = JSON.parse(document.getElementById("viewer-data").textContent);
const [viewer, stage, before, after, split, other] =
  ["viewer", "stage", "before", "after", "split", "other"].map((id) => document.getElementById(id));
let at = {row: 0, column: 0};
let chosen = 0; // the column that is compared with

function thumbnail({row, column}) {
  return document.querySelector(`button.picture[data-row="${row}"][data-column="${column}"]`);
}

function show() {
  const {name, cells} = rows[at.row];
  const cell = cells[at.column];
  document.getElementById("viewer-title").textContent = `${columns[at.column].label} · ${name}`;
  const others = [...columns.keys()].filter((column) => column !== at.column && cells[column]);
  const comparable = columns[at.column].method;
  const choices = comparable ? others : [];
  other.replaceChildren(...choices.map((column) => new Option(columns[column].label, column)));
  const left = choices.includes(chosen) ? chosen : choices[0];
  other.value = left;
  const compared = left !== undefined;
  for (const element of [before, document.getElementById("divider")]) element.hidden = !compared;
  document.getElementById("controls").hidden = !compared;
  after.src = cell.source;
  after.alt = cell.alt;
  if (compared) {
    before.src = cells[left].source;
    before.style.objectFit = left === 1 ? "cover" : "fill"; // a style has a shape of its own
    before.alt = `Left of the line: ${cells[left].alt}`;
  }
  viewer.style.setProperty("--shape", cell.width / cell.height);
  const facts = cell.numbers.map(([title, number]) => `${title} ${number}`).join(" · ");
  document.getElementById("facts").textContent = facts && `Of this pair: ${facts}`;
  for (const button of viewer.querySelectorAll("[data-step]")) {
    button.setAttribute("aria-disabled", String(!neighbour(...step(button))));
  }
}

function step(button) {
  return button.dataset.step.split(",").map(Number);
}

function neighbour(down, right) { // the next picture that way; missing ones are skipped
  let {row, column} = at;
  do {
    row += down;
    column += right;
  } while (rows[row] && column in columns && !rows[row].cells[column]);
  return rows[row]?.cells[column] ? {row, column} : null;
}

function move(down, right) {
  const next = neighbour(down, right);
  if (!next) return;
  at = next;
  show();
}

function cut() {
  viewer.style.setProperty("--at", `${split.value}%`);
  split.setAttribute("aria-valuetext", `${split.value} % from the left`);
}

for (const button of document.querySelectorAll("button.picture")) {
  button.addEventListener("click", () => {
    at = {row: Number(button.dataset.row), column: Number(button.dataset.column)};
    split.value = 50;
    cut();
    show();
    viewer.showModal();
  });
}
for (const button of viewer.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => move(...step(button)));
}
viewer.addEventListener("keydown", (event) => {
  if (event.target === split || event.target === other) return; // the arrows are theirs
  const steps = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
  if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  move(...steps[event.key]);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => {
  if (thumbnail(at)?.closest("tr").hidden) reveal();
  thumbnail(at)?.focus();
});
document.getElementById("close").addEventListener("click", () => viewer.close());
split.addEventListener("input", cut);
other.addEventListener("change", () => { chosen = Number(other.value); show(); });

// The line follows the pointer over the picture, too.
function drag(event) {
  const {left, width} = stage.getBoundingClientRect();
  split.value = Math.round((event.clientX - left) / width * 100);
  cut();
}
stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) drag(event); });
