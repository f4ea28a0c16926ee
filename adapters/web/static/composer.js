// The composer of a case: notes, saved replies, the suggestion, the platform's limit, and the sign
// to others that somebody writes. Texts that were not sent are kept for as long as the page lives.

import { all, find, said, shownCase } from "./page.js";

const texts = new Map(); // what was typed and not sent, by case

export function keepText(id) {
  if (id && find("answer")) texts.set(id, find("answer").value);
}

export function bringText(id) {
  if (find("answer") && texts.get(id)) find("answer").value = texts.get(id);
}

export function forgetText(id, text) {
  if (texts.get(id) === text) texts.delete(id);
}

export function dropText(id) {
  find("answer").value = "";
  texts.delete(id);
}

// The composer: `//` a note, `/` a saved reply, the suggestion as ghost text, a limit when near

let refused = ""; // the suggestion that Esc sent away
let chosen = 0;

export function typed() {
  const answer = find("answer");
  if (!answer) return;
  const composer = find("composer");
  const note = answer.value.startsWith("//");
  composer.classList.toggle("note", note);
  const label = find("answer-label");
  label.textContent = note ? label.dataset.note : label.dataset.reply;
  const send = composer.querySelector("[data-send]");
  send.textContent = note ? send.dataset.keep : send.dataset.send;
  const draft = find("draft-text")?.textContent ?? "";
  const ghost = draft && !answer.value && draft !== refused ? draft : "";
  find("ghost").textContent = ghost;
  composer.classList.toggle("ghosting", ghost !== "");
  tellLimit(answer.value.length, Number(composer.dataset.limit), note);
  offer(answer);
}

function tellLimit(length, limit, note) {
  const near = find("near");
  const left = limit - length;
  if (!limit || note || left > limit * 0.15) near.textContent = "";
  else near.textContent = (left < 0 ? near.dataset.over : near.dataset.words).replace("{n}", Math.abs(left));
}

function offer(answer) {
  const list = find("saved-list");
  const asked = /^\/(\w*)$/u.exec(answer.value);
  const fitting = asked ? all("#saved-data li").filter((one) => one.dataset.name.startsWith(asked[1])) : [];
  list.hidden = fitting.length === 0;
  chosen = Math.min(chosen, Math.max(0, fitting.length - 1));
  list.replaceChildren(
    ...fitting.map((one, n) => {
      const option = document.createElement("li");
      option.id = `saved-${n}`;
      option.role = "option";
      option.ariaSelected = String(n === chosen);
      option.dataset.text = one.textContent;
      const name = document.createElement("b");
      name.textContent = `/${one.dataset.name}`;
      option.append(name, ` ${one.textContent}`);
      return option;
    }),
  );
  if (list.hidden) answer.removeAttribute("aria-activedescendant");
  else answer.setAttribute("aria-activedescendant", `saved-${chosen}`);
}

function insert(option) {
  write(option.dataset.text);
}

function write(text) {
  const answer = find("answer");
  answer.value = text;
  answer.focus();
  answer.setSelectionRange(text.length, text.length);
  chosen = 0;
  typed();
}

export function inAnswer(event) {
  const list = find("saved-list");
  const steps = { ArrowDown: 1, ArrowUp: -1 };
  if (!list.hidden && event.key in steps) {
    chosen = (chosen + steps[event.key] + list.children.length) % list.children.length;
    offer(event.target);
    list.children[chosen].scrollIntoView({ block: "nearest" });
  } else if (!list.hidden && (event.key === "Enter" || event.key === "Tab") && !event.ctrlKey) {
    insert(list.children[chosen]);
  } else if (event.key === "Tab" && !event.shiftKey && find("ghost").textContent) {
    write(find("ghost").textContent);
  } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    find("composer").querySelector("[data-send]").click();
  } else if (event.key === "Escape") {
    if (!list.hidden) {
      list.hidden = true;
    } else if (find("ghost").textContent) {
      refused = find("ghost").textContent;
      typed();
    } else {
      event.target.blur();
    }
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}

let toldAt = 0;

function tellWriting() {
  if (!find("answer").value || Date.now() - toldAt < 3000) return;
  toldAt = Date.now();
  const form = new URLSearchParams({ csrf: said.csrf });
  fetch(`/desk/${shownCase()}/writing`, { method: "POST", body: form, headers: { "heed-live": "1" } }).catch(() => {});
}

document.addEventListener("input", (event) => {
  if (event.target.id !== "answer") return;
  chosen = 0;
  typed();
  tellWriting();
});
document.addEventListener("mousedown", (event) => {
  const option = event.target.closest("#saved-list [role=option]");
  if (!option) return;
  event.preventDefault();
  insert(option);
});

export function compose(note) {
  const answer = find("answer");
  if (!answer) return;
  const plain = answer.value.replace(/^\/\/ ?/u, "");
  write(note ? `// ${plain}` : plain);
}
