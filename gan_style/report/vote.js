"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const PLACE = `gan_style vote ${DATA.comparison}`;  // in the browser's storage
const SETTLE = 250;  // ms in which nothing counts: the second half of a double click isn't a choice
const CHOICES = {
  ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", 0: "neither", " ": "neither",
};
const at = (id) => document.getElementById(id);

// A rater's number makes files of two people with one name differ; the seed gives the order.
function newRater() {
  const [number, seed] = crypto.getRandomValues(new Uint32Array(2));
  return { number: `r${number.toString(16).padStart(8, "0")}`, seed, name: "", begun: false, unsaved: false,
    answers: [] };
}

// Storage can be missing, full, or hold what another program left.
let kept = true;
function load() {
  try {
    const state = JSON.parse(localStorage.getItem(PLACE));
    if (Array.isArray(state.answers) && Number.isInteger(state.seed)) return state;
  } catch { /* as if there were none */ }
  return newRater();
}
function keep() {
  try {
    localStorage.setItem(PLACE, JSON.stringify(state));
  } catch {
    kept = false;
  }
  at("unkept").hidden = kept;
}

// mulberry32 by Tommy Ettinger, public domain: numbers in [0, 1) that a seed repeats.
function randomNumbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Every rater has an order of their own; half of them see all sides swapped, which keeps the balance.
function ordered(seed) {
  const random = randomNumbers(seed);
  const swapped = random() < 0.5;
  const questions = DATA.questions.map((question) =>
    swapped ? { ...question, left: question.right, right: question.left } : question);
  for (let i = questions.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [questions[i], questions[j]] = [questions[j], questions[i]];
  }
  return questions;
}

let state = load();
let questions = ordered(state.seed);
let shownAt = Infinity;

function show(id) {
  for (const name of ["welcome", "ask", "done"]) at(name).hidden = name !== id;
}

function showWelcome() {
  at("total").textContent = questions.length;
  show("welcome");
  at("name").value = "";
  if (matchMedia("(hover: hover)").matches) at("name").focus();  // a phone would open its keyboard
}

function showDone() {
  at("answered").textContent = questions.length;
  show("done");
  at("done").querySelector("h1").focus();
}

async function showQuestion() {
  const number = state.answers.length;
  if (number === questions.length) return showDone();
  const question = questions[number];
  const arriving = at("ask").hidden;
  show("ask");
  if (arriving) {
    at("prompt").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  shownAt = Infinity;
  const images = ["left", "right"].map((side) => at(side).querySelector("img"));
  images[0].src = DATA.pictures[question.left];
  images[1].src = DATA.pictures[question.right];
  at("content").src = DATA.pictures[question.content];
  at("references").replaceChildren(...question.references.map((id, index) => {
    const image = new Image();
    image.alt = `The style, picture ${index + 1}`;
    image.src = DATA.pictures[id];
    return image;
  }));
  at("styles").hidden = !question.references.length;
  at("count").textContent = `${number + 1} of ${questions.length}`;
  at("bar").max = questions.length;
  at("bar").value = number;
  at("undo").disabled = number === 0;
  for (const button of document.querySelectorAll(".save")) button.disabled = number === 0;
  // A new question is seen to be new, however alike the pictures are.
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    at("choices").animate({ opacity: [0, 1] }, SETTLE);
  }
  await Promise.allSettled(images.map((image) => image.decode()));
  if (number === state.answers.length) shownAt = performance.now();
}

function choose(choice) {
  const seconds = (performance.now() - shownAt) / 1000;
  if (seconds * 1000 < SETTLE) return;
  const { id, content, left, right } = questions[state.answers.length];
  const time = new Date().toISOString();
  state.answers.push({ question: id, content, left, right, choice, seconds: seconds.toFixed(1), time });
  state.unsaved = true;
  at("saved").hidden = true;
  keep();
  showQuestion();
}

function undo() {
  if (!state.answers.length) return;
  state.answers.pop();
  keep();
  showQuestion();
}

// Letters, digits and _ only: the name becomes part of a file's name and of a table's cells.
function rater() {
  const letters = state.name.normalize("NFC").replace(/\s+/g, "_").replace(/[^\p{L}\p{N}_]/gu, "");
  return [letters, state.number].filter(Boolean).join("-");
}

function asCsv() {
  const rows = state.answers.map((answer) => ({ ...answer, comparison: DATA.comparison, rater: rater() }));
  const lines = [DATA.columns, ...rows.map((row) => DATA.columns.map((column) => row[column]))];
  return lines.map((line) => line.join(",") + "\r\n").join("");  // no value has a comma or a quote
}

function save() {
  if (!state.answers.length) return;
  const name = `votes-${rater()}.csv`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  state.unsaved = false;
  keep();
  const votes = `${state.answers.length} vote${state.answers.length === 1 ? "" : "s"}`;
  at("message").textContent = `${votes} saved as ${name}.`;
  at("text").value = asCsv();
  at("saved").hidden = false;
  at("saved").scrollIntoView({ block: "nearest" });
}

function nextRater() {
  if (state.unsaved && !confirm("Your votes aren’t saved. Throw them away?")) return;
  state = newRater();
  questions = ordered(state.seed);
  at("saved").hidden = true;
  keep();
  showWelcome();
}

// A button that was clicked would take the space bar for itself.
function onClick(element, action) {
  element.addEventListener("click", (event) => {
    if (event.detail) element.blur();
    action();
  });
}

for (const side of ["left", "right", "neither"]) onClick(at(side), () => choose(side));
onClick(at("undo"), undo);
onClick(at("back"), undo);
onClick(at("again"), nextRater);
for (const button of document.querySelectorAll(".save")) onClick(button, save);
at("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  state.name = at("name").value.trim();
  state.begun = true;
  keep();
  showQuestion();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target.matches("input, textarea")) return;
  if (event.key === " " && event.target.matches("button, summary")) return;  // reached with Tab
  const asking = !at("ask").hidden;
  if (event.key === "Backspace" && (asking || !at("done").hidden)) undo();
  else if (asking && Object.hasOwn(CHOICES, event.key)) choose(CHOICES[event.key]);
  else return;
  event.preventDefault();
});
addEventListener("beforeunload", (event) => {
  if (state.unsaved && !kept) event.preventDefault();
});

at("comparison").textContent = DATA.comparison;
keep();
if (state.begun) showQuestion();
else showWelcome();
