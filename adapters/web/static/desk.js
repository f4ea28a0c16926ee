// The live side of the desk. The server draws every part; htmx fetches it; this puts it in place
// without moving what somebody is looking at, and adds keys, the composer's comforts, a sound.
// What people wrote is only ever set as textContent, or comes escaped by the server's templates.

import { bringText, compose, dropText, forgetText, inAnswer, keepText, typed } from "./composer.js";
import { keyOf, morph, morphChildren } from "./morph.js";
import { all, body, find, said, shownCase } from "./page.js";

body.classList.add("live");
document.cookie = `heed_offset=${-new Date().getTimezoneOffset()}; path=/; max-age=31536000; samesite=strict`;

htmx.defineExtension("keep", {
  isInlineSwap: (style) => style === "keep",
  handleSwap(style, target, fragment) {
    if (style !== "keep") return false;
    if (target.id === "queue") placeQueue(target, fragment);
    else placeCase(target, fragment);
    return [];
  },
});

// The queue: an order that changed waits while the pointer rests on it.

let hovering = false;
let waiting = null; // the newest queue that could not be shown yet
const newcomers = new Set();

function placeQueue(target, fragment) {
  tellNewcomers(fragment);
  const box = find("rows");
  const rows = all("#rows > li", fragment);
  const order = (list) => list.map(keyOf).join();
  const before = all(":scope > li", box);
  if (hovering && before.length && order(rows) !== order(before)) {
    waiting = fragment;
    const here = new Map(before.map((row) => [keyOf(row), row]));
    let fresh = 0;
    for (const row of rows) {
      if (here.has(keyOf(row))) morph(here.get(keyOf(row)), row.cloneNode(true));
      else fresh += 1;
    }
    const filters = fragment.querySelector("#filters").cloneNode(true);
    morph(find("filters"), filters);
    find("fresh").hidden = fresh === 0;
    find("fresh").firstElementChild.textContent = said.new.replace("{n}", fresh);
  } else {
    settleQueue(target, fragment);
  }
  inLine = Number((fragment.querySelector?.("#rows") ?? find("rows")).dataset.waiting);
  title();
  afterQueue();
}

function settleQueue(target, fragment) {
  waiting = null;
  const counted = fragment.querySelector("#rows")?.dataset.waiting;
  morphChildren(target, fragment);
  if (counted !== undefined) find("rows").dataset.waiting = counted;
  find("fresh").hidden = true;
}

function showWaiting() {
  if (!waiting) return;
  settleQueue(find("queue"), waiting);
  afterQueue();
}

function afterQueue() {
  const now = shownCase();
  for (const link of all("#rows a[aria-current]")) link.removeAttribute("aria-current");
  if (now) document.querySelector(`#rows a[data-case="${now}"]`)?.setAttribute("aria-current", "true");
  const field = document.querySelector("#filters [name=case]");
  if (field) field.value = now;
}

let inLine = Number(find("rows").dataset.waiting); // how many wait for a person

function title() {
  document.title = `${alerted.size ? "● " : ""}${inLine ? `(${inLine}) ` : ""}Heed`;
}

function tellNewcomers(fragment) {
  const told = [];
  for (const id of newcomers) {
    const row = fragment.querySelector(`[data-key="row-${id}"]`);
    if (!row) continue;
    const name = row.querySelector(".who").textContent;
    told.push(said.announce.replace("{name}", name).replace("{reason}", row.dataset.reason));
  }
  newcomers.clear();
  if (told.length) find("announce").textContent = told.join(". ");
}

// The person of a case has written, and this member of staff asked to be told: the title is marked
// until that case has been looked at.

const alerted = new Set();

function alerts(id) {
  const row = document.querySelector(`#rows [data-key="row-${id}"] .who`);
  const name = row?.textContent ?? said.caseN.replace("{n}", id);
  find("announce").textContent = said.alerted.replace("{name}", name);
  alerted.add(id);
  looked();
  ring();
}

function looked() {
  if (!document.hidden) alerted.delete(shownCase());
  title();
}

const box = find("queue-box");
box.addEventListener("pointerenter", (event) => (hovering = event.pointerType === "mouse"));
box.addEventListener("pointerleave", () => {
  hovering = false;
  showWaiting();
});
box.addEventListener("click", (event) => {
  if (event.target.closest("#fresh")) showWaiting();
});

// The case

let unread = null; // {case, at}: newer lines of the person are new

function placeCase(target, fragment) {
  const before = shownCase();
  const version = (root) => Number(root.querySelector(`[data-case="${before}"]`)?.dataset.version ?? Infinity);
  if (before && version(fragment) < version(target)) return; // asked for before what is shown
  keepText(before);
  const lines = target.querySelector(".lines-box");
  const low = lines && lines.scrollHeight - lines.scrollTop - lines.clientHeight < 60;
  morphChildren(target, fragment);
  const other = shownCase() !== before;
  if (other) {
    bringText(shownCase());
    connect();
    refreshQueue(); // it is read now
  }
  afterCase(other, low);
  afterQueue();
  looked();
}

function afterCase(other, low) {
  const lines = document.querySelector(".lines-box");
  if (lines) {
    drawUnread(other);
    const mark = other && document.querySelector(".unread-line");
    if (mark) mark.scrollIntoView({ block: "center" });
    else if (other || low) lines.scrollTop = lines.scrollHeight;
  }
  typed();
}

function drawUnread(other) {
  document.querySelector(".unread-line")?.remove();
  const now = shownCase();
  const seen = JSON.parse(localStorage.getItem("heed-seen") ?? "{}");
  if (other) unread = seen[now] === undefined ? null : { case: now, at: seen[now] };
  const lines = all("#talk-lines > .line");
  if (unread?.case === now) {
    const first = lines.find((line) => line.dataset.role === "user" && Number(line.dataset.at) > unread.at);
    if (first) {
      const mark = document.createElement("li");
      mark.className = "unread-line";
      mark.dataset.key = "unread-line";
      mark.textContent = find("talk-lines").dataset.unread;
      first.before(mark);
    }
  }
  if (document.hidden || !lines.length) return;
  delete seen[now]; // newest last, so that the oldest are forgotten first
  const kept = [...Object.entries(seen).slice(-300), [`${now}`, Number(lines.at(-1).dataset.at)]];
  localStorage.setItem("heed-seen", JSON.stringify(Object.fromEntries(kept)));
}

// Sending: the box is emptied only when the server has taken exactly what it held

let sent = "";
body.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "composer") sent = find("answer").value;
});
body.addEventListener("heed-done", (event) => {
  const { verb } = event.detail;
  const answer = find("answer");
  if (event.target.id === "composer" && answer?.value === sent && ["reply", "note", "saved"].includes(verb)) {
    dropText(shownCase());
  }
  if (["claim", "steal", "reply", "note", "draft"].includes(verb)) answer?.focus();
  for (const fold of event.target.closest("#case") ? all("#case details.menu, #case details.change") : []) {
    fold.open = false;
  }
  for (const field of all("input:not([type=hidden], [type=number])", event.target)) field.value = "";
  refreshQueue();
});

// Whatever takes longer than a moment says what it is doing.
let working = null;
body.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "filters" || event.target.id === "case") return;
  const drafts = event.detail.requestConfig.formData?.get("verb") === "draft";
  clearTimeout(working);
  working = setTimeout(() => (find("live").textContent = drafts ? said.drafting : said.working), 300);
});
body.addEventListener("htmx:afterRequest", () => {
  clearTimeout(working);
  if ([said.drafting, said.working].includes(find("live").textContent)) find("live").textContent = "";
});

// A refusal comes as a part of the page with its sentence, or as JSON from further out.
body.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  const html = (xhr.getResponseHeader("content-type") ?? "").startsWith("text/html");
  const digest = xhr.getResponseHeader("heed-digest");
  if (digest) find("filters").querySelector("[name=seen]").value = digest;
  const late = overtaken(event.detail);
  event.detail.isError = false;
  event.detail.shouldSwap = html && !late;
  if (late && event.detail.requestConfig.verb === "post") tellLate(event.detail, late);
  if (xhr.status === 401) leave();
  else if (!html && xhr.status >= 400) flash(reason(xhr.responseText));
});

// What comes of one case when another is on the screen does not push that one aside: somebody writes there.

let opening = ""; // the case last chosen in the queue
body.addEventListener("htmx:beforeRequest", ({ target }) => {
  if (target.matches("#rows a")) opening = target.dataset.case;
});

function overtaken({ target, requestConfig: { elt, path } }) {
  const about = /^\/desk\/(\d+)/.exec(path)?.[1];
  if (target.id !== "case" || !about || elt.closest("#flash")) return "";
  return about === (elt.matches("#rows a") ? opening : shownCase()) ? "" : about;
}

function tellLate({ xhr, requestConfig: { formData } }, about) {
  const refusal = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("#flash p");
  if (refusal) flash(`${said.caseN.replace("{n}", about)}: ${refusal.textContent}`);
  else if (xhr.getResponseHeader("hx-trigger")) forgetText(about, formData.get("text"));
}

function leave() {
  const next = `/login?next=${encodeURIComponent(location.pathname)}`;
  if (find("answer")?.value) flash(said.out, next);
  else location.assign(next);
}

body.addEventListener("htmx:sendError", () => flash(said.busy));
body.addEventListener("htmx:timeout", () => flash(said.busy));

function reason(text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return said.busy;
  }
}

function flash(words, login) {
  const notice = document.createElement("div");
  notice.className = "notice";
  const text = document.createElement("p");
  text.textContent = words;
  notice.append(text);
  const link = document.createElement("a");
  link.className = "quiet close";
  link.href = login ?? location.pathname;
  link.textContent = login ? said.login : said.close;
  if (login) link.target = "_blank";
  else link.dataset.dismiss = "";
  notice.append(link);
  find("flash").replaceChildren(notice);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) {
    event.preventDefault();
    find("flash").replaceChildren();
  }
  for (const menu of all("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// What happens: the server tells that something changed, and it is fetched anew

let stream = null;
let queueAt = 0;
let queueTimer = null;
let caseTimer = null;

function refreshQueue() {
  if (queueTimer) return;
  const gap = document.hidden && !newcomers.size ? 10000 : 1200;
  const wait = Math.max(40, queueAt + gap - Date.now());
  queueTimer = setTimeout(() => {
    queueTimer = null;
    queueAt = Date.now();
    htmx.trigger(body, "desk:queue");
  }, wait);
}

function refreshCase() {
  if (caseTimer || !shownCase()) return;
  caseTimer = setTimeout(() => {
    caseTimer = null;
    const headers = document.hidden ? {} : { "heed-looking": "1" };
    if (shownCase()) htmx.ajax("GET", `/desk/${shownCase()}`, { source: "#case", target: "#case", swap: "keep", headers });
  }, 150);
}

let silence = null;

function presence(facts) {
  const near = find("near-by");
  if (!near) return;
  near.querySelector(".looking").textContent = facts.writing ? "" : facts.looking;
  near.querySelector(".writing").textContent = facts.writing;
  clearTimeout(silence);
  if (facts.writing) silence = setTimeout(() => presence({ ...facts, writing: "" }), 7000);
}

function connect() {
  stream?.close();
  const now = shownCase();
  const mine = new EventSource(`/desk/events${now ? `?case=${now}` : ""}`);
  stream = mine;
  mine.addEventListener("listening", () => {
    find("live").textContent = "";
    body.dataset.listening = shownCase();
    refreshQueue(); // what happened since the page was drawn, or since the last stream, was not heard
    refreshCase();
  });
  mine.addEventListener("queue", (event) => {
    const told = JSON.parse(event.data);
    if (told.new) {
      newcomers.add(String(told.case));
      clearTimeout(queueTimer);
      queueTimer = null;
      ring();
    }
    refreshQueue();
  });
  mine.addEventListener("alert", (event) => alerts(String(JSON.parse(event.data).case)));
  mine.addEventListener("case", refreshCase);
  mine.addEventListener("presence", (event) => presence(JSON.parse(event.data)));
  mine.onerror = () => {
    find("live").textContent = said.offline;
    delete body.dataset.listening;
    if (mine.readyState !== EventSource.CLOSED) return;
    setTimeout(() => {
      if (stream !== mine) return;
      refreshQueue(); // tells whether this log-in still counts
      connect();
    }, 4000);
  };
}

// The sound of a new case: two soft notes

const sound = find("sound");
let audio = null;

function drawSound() {
  const on = localStorage.getItem("heed-sound") === "on";
  sound.setAttribute("aria-pressed", String(on));
  sound.querySelector(".words").textContent = on ? sound.dataset.on : sound.dataset.off;
}

function ring() {
  if (localStorage.getItem("heed-sound") !== "on") return;
  audio ??= new AudioContext();
  for (const [note, after] of [[660, 0], [880, 0.16]]) {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    const start = audio.currentTime + after;
    tone.frequency.value = note;
    volume.gain.setValueAtTime(0.0001, start);
    volume.gain.exponentialRampToValueAtTime(0.12, start + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.3);
    tone.connect(volume).connect(audio.destination);
    tone.start(start);
    tone.stop(start + 0.32);
  }
}

sound.addEventListener("click", () => {
  localStorage.setItem("heed-sound", localStorage.getItem("heed-sound") === "on" ? "off" : "on");
  drawSound();
  ring();
});

// Keys

let prefix = 0;

function move(by) {
  showWaiting();
  const links = all("#rows a");
  const here = links.indexOf(document.activeElement);
  const start = here >= 0 ? here : links.findIndex((one) => one.hasAttribute("aria-current"));
  const next = links[Math.max(0, Math.min(links.length - 1, start + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function press(does) {
  document.querySelector(`#case [data-does="${does}"]`)?.click();
}

const keys = {
  j: () => move(1),
  k: () => move(-1),
  c: () => press("claim"),
  e: () => press("resolve"),
  x: () => press("notneeded"),
  r: () => compose(false),
  n: () => compose(true),
  "/": () => find("words").focus(),
  "?": () => find("keys").showModal(),
  z() {
    const menu = find("snooze");
    if (!menu) return;
    menu.open = true;
    menu.querySelector("button").focus();
  },
};

document.addEventListener("keydown", (event) => {
  if (event.target.id === "answer") {
    inAnswer(event);
    return;
  }
  if (event.key === "Escape") {
    const menu = event.target.closest("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    } else if (event.target.matches("input, select, textarea")) event.target.blur();
    showWaiting();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) return;
  showWaiting();
  if (event.key === "g") {
    prefix = Date.now();
  } else if (Date.now() - prefix < 1500 && "dp".includes(event.key)) {
    location.assign(event.key === "d" ? "/desk" : "/pictures");
  } else if (event.key in keys) {
    event.preventDefault();
    keys[event.key]();
  }
});
find("show-keys").addEventListener("click", () => find("keys").showModal());

// Times tick

function tick() {
  for (const time of all("time[data-ago]")) {
    const seconds = (Date.now() - new Date(time.dateTime)) / 1000;
    const found = [[86400, said.days], [3600, said.hours], [60, said.minutes]].find(([size]) => seconds >= size);
    const words = found ? found[1].replace("{n}", Math.floor(seconds / found[0])) : said.now;
    if (time.textContent !== words) time.textContent = words;
  }
}

setInterval(tick, 20000);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  looked();
  refreshQueue();
  refreshCase();
});

drawSound();
tick();
connect();
afterCase(true, true);
afterQueue();
