// The live side of the try-it room. The server draws; this listens to the events of one person,
// fetches the parts that changed and puts them in place. Text of people is only ever set as
// textContent, or comes escaped by the server's templates.

const room = document.body;
const find = (id) => document.getElementById(id);
const person = room.dataset.person;
const language = document.documentElement.lang;
const drawn = new WeakMap(); // element -> the HTML the server drew it from
const tags = new Map(); // inbox -> tag HTML heard before the page state knew it
const writing = new Map(); // inbox -> the line that is being written
const settled = new Set(); // inbox rows whose turn is over
let heard = null; // keys of the lines already announced; null before the first look
let openCase = document.querySelector("[data-case]")?.dataset.case ?? null;
let owner = "bot";
let trouble = document.querySelector(".problem")?.textContent.trim() ?? "";

function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// Times: relative in the text, exact on hover, from the machine-readable attribute.

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

function tellTimes(box = document) {
  for (const time of box.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const seconds = Math.min(0, Math.round((at - Date.now()) / 1000));
    const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"]].find(([size]) => -seconds >= size) ?? [1, "second"];
    time.textContent = relative.format(unit === "second" ? 0 : Math.trunc(seconds / size), unit);
    time.title = exact.format(at);
  }
}

// Put freshly drawn children into a box; children that did not change stay as they are, with
// their focus, their open details and what was typed in them.

function patch(box, html) {
  const old = new Map();
  for (const child of box.querySelectorAll(":scope > [data-key]")) old.set(child.dataset.key, child);
  let before = null;
  for (const fresh of [...fragment(html).children]) {
    const present = old.get(fresh.dataset.key);
    let node = present;
    if (!present || drawn.get(present) !== fresh.outerHTML) {
      node = fresh;
      drawn.set(fresh, fresh.outerHTML);
      for (const open of present?.querySelectorAll("details[open]") ?? []) {
        fresh.querySelector(`details[data-name="${open.dataset.name}"]`)?.setAttribute("open", "");
      }
      tellTimes(fresh);
      const focused = present?.contains(document.activeElement) ? document.activeElement : null;
      present?.replaceWith(fresh);
      if (focused) {
        const same = [...fresh.querySelectorAll("button")].find((one) => one.value === focused.value);
        (same ?? fresh.querySelector("button, a, summary"))?.focus();
      }
    }
    old.delete(fresh.dataset.key);
    const place = before ? before.nextElementSibling : box.firstElementChild;
    if (place !== node) box.insertBefore(node, place);
    before = node;
  }
  for (const gone of old.values()) gone.remove();
}

// The chat: lines sent but not yet stored, tags and tokens that run ahead of the page state.

function bubble(kind, text) {
  const line = document.createElement("div");
  line.className = `line ${kind}`;
  const words = document.createElement("p");
  words.className = "text";
  words.dir = "auto";
  words.textContent = text;
  line.append(words);
  find("lines").append(line);
  return line;
}

function settleLines() {
  const lines = find("lines");
  const known = new Set();
  for (const line of lines.querySelectorAll("[data-key^='line-']")) {
    if (line.dataset.role === "bot") known.add(line.dataset.inbox);
    const heardAs = line.querySelector(".heard");
    if (line.dataset.role === "user" && heardAs && !heardAs.children.length && tags.has(line.dataset.inbox)) {
      heardAs.replaceChildren(fragment(tags.get(line.dataset.inbox)));
    }
    if (heard?.has(line.dataset.key) === false && line.dataset.role === "user") {
      const text = line.querySelector(".text").textContent;
      [...lines.querySelectorAll(".pending")].find((one) => one.textContent.trim() === text)?.remove();
    }
  }
  for (const [inbox, line] of writing) {
    if (known.has(inbox) || settled.has(inbox)) {
      line.remove();
      writing.delete(inbox);
    }
  }
  lines.append(...lines.querySelectorAll(".pending, .writing"));
}

function showTyping() {
  const now = Date.now() / 1000;
  const waits = [...document.querySelectorAll("[data-waits]")].some(
    (line) => !settled.has(line.dataset.inbox) && now - Number(line.dataset.waits) < 120,
  );
  const pending = document.querySelector(".pending");
  find("typing").hidden = owner !== "bot" || writing.size > 0 || !(waits || pending);
}

// Say to those who cannot see it what is new: answers, and a case that opens.

function announce(state) {
  const before = heard;
  heard = new Set();
  const said = [];
  for (const line of document.querySelectorAll("#lines [data-key^='line-']")) {
    heard.add(line.dataset.key);
    if (!before || before.has(line.dataset.key) || !["bot", "staff"].includes(line.dataset.role)) continue;
    const name = line.querySelector(".who")?.textContent ?? room.dataset.bot;
    const text = line.querySelector(".text").textContent;
    said.push(room.dataset.said.replace("{name}", () => name).replace("{text}", () => text));
  }
  const present = state.case === null ? null : String(state.case);
  if (present && present !== openCase) said.push(room.dataset.caseOpen);
  openCase = present;
  const problem = find("bar").querySelector(".problem")?.textContent.trim() ?? "";
  if (problem && problem !== trouble) said.push(problem);
  trouble = problem;
  if (said.length) find("announce").textContent = said.join(" ");
  find("badge").hidden = present === null;
}

// One fetch at a time; what happens meanwhile asks for one more.

let fetching = false;
let again = false;

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch(`/room/state?person=${encodeURIComponent(person)}`, { headers: { "Heed-Live": "1" } });
    if (answer.ok) {
      const state = await answer.json();
      owner = state.owner;
      for (const [name, html] of Object.entries(state.parts)) patch(find(name), html);
      fold(document.querySelector(".problem"));
      settleLines();
      announce(state);
      showTyping();
    }
  } catch {
    tell(room.dataset.offline); // the next event or reconnect asks again
  } finally {
    fetching = false;
  }
  if (again) {
    again = false;
    await refresh();
  }
}

function tell(text) {
  const box = document.createElement("div");
  box.className = "notice";
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("a");
  close.href = location.href;
  close.className = "quiet";
  close.dataset.dismiss = "";
  close.textContent = room.dataset.close;
  box.append(words, close);
  find("notice").replaceChildren(box);
}

function listen(lost = false) {
  const events = new EventSource(`/room/events?person=${encodeURIComponent(person)}`);
  const on = (kind, act) => events.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  on("listening", () => {
    if (lost) find("notice").replaceChildren();
    lost = false;
    refresh();
  });
  on("tag", ({ inbox, html }) => {
    tags.set(String(inbox), html);
    refresh();
  });
  on("token", ({ inbox, text }) => {
    const key = String(inbox);
    find("typing").textContent = find("typing").dataset.typing;
    if (!writing.has(key)) writing.set(key, bubble("bot writing", ""));
    writing.get(key).firstElementChild.textContent += text;
    showTyping();
  });
  on("waiting", ({ ahead }) => {
    const words = find("typing");
    words.textContent = words.dataset.waiting.replace("{n}", ahead);
  });
  on("change", ({ kind, inbox }) => {
    if (kind === "done" || kind === "withdrawn") settled.add(String(inbox));
    refresh();
  });
  events.onerror = () => {
    if (!lost) tell(room.dataset.offline);
    lost = true;
    if (events.readyState === EventSource.CLOSED) setTimeout(() => listen(true), 2000); // refused: no retry by itself
  };
  addEventListener("pagehide", () => events.close(), { once: true });
}

// Forms: sent without leaving the page; what was typed stays until the server has taken it.

function ask(html) {
  find("notice").replaceChildren(fragment(html));
  find("notice").querySelector("button")?.focus();
}

// A confirmed reply is gone from here; it must not wait in the box to be sent twice.

function forget(data) {
  const box = find("reply");
  if (!data.has("confirm") || !box) return;
  if (box.value.trim() === data.get("text").trim()) box.value = "";
  box.focus();
}

async function send(form, button) {
  const data = new FormData(form, button);
  const box = form.querySelector("textarea");
  const pending = form.id === "say" ? bubble("user pending", box.value.trim()) : null;
  const typed = box?.value;
  if (box) box.value = "";
  if (form.closest("#bar")) sessionStorage.removeItem("heed.problem"); // asked anew: told anew
  showTyping();
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(data), headers: { "Heed-Live": "1" } });
    if (answer.ok) {
      find("notice").replaceChildren();
      forget(data);
      await refresh();
      return;
    }
    const told = await answer.text();
    if (answer.headers.get("content-type").startsWith("text/html")) ask(told);
    else tell(JSON.parse(told).error.message);
  } catch {
    tell(room.dataset.busy);
  }
  pending?.remove();
  if (box && !box.value) box.value = typed;
  await refresh();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("live" in form.dataset)) return;
  event.preventDefault();
  send(form, event.submitter);
});

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if ("dismiss" in link.dataset) {
    event.preventDefault();
    find("notice").replaceChildren();
  } else if (link.classList.contains("why")) {
    event.preventDefault();
    const answer = await fetch(link.href, { headers: { "Heed-Live": "1" } });
    if (!answer.ok) return;
    find("why").querySelector(".explained").replaceChildren(fragment(await answer.text()));
    find("why").showModal();
  }
});

// Keys

const verbs = { c: "claim", e: "resolve", x: "notneeded", b: "botback" };

function showPane(name) {
  find(`pane-${name}`).checked = true;
}

document.addEventListener("keydown", (event) => {
  const box = event.target.closest("textarea");
  if (box) {
    if (event.key === "Escape") box.blur();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (box.value.trim()) box.form.requestSubmit(box.form.querySelector("button"));
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "?") find("keys").showModal();
  else if (event.key === "/" || event.key === "r") {
    event.preventDefault();
    showPane(event.key === "/" ? "person" : "desk");
    find(event.key === "/" ? "text" : "reply")?.focus();
  } else if (verbs[event.key]) document.querySelector(`.case [value="${verbs[event.key]}"]`)?.click();
  else document.querySelector(`.persons a:nth-of-type(${Number(event.key) || 0})`)?.click();
});

// First look

for (const id of ["bar", "lines", "desk", "transcript", "composer"]) {
  for (const child of find(id).querySelectorAll(":scope > [data-key]")) drawn.set(child, child.outerHTML);
}
tellTimes();
setInterval(tellTimes, 30_000);

find("show-keys").hidden = false;
find("show-keys").addEventListener("click", () => find("keys").showModal());

// A problem that was folded away stays folded until it is another one.

function folded(box) {
  return sessionStorage.getItem("heed.problem") === box.textContent.trim();
}

function fold(box) {
  if (box && folded(box)) box.open = false;
}

find("bar").addEventListener("click", ({ target }) => {
  const box = target.closest(".problem > summary")?.parentElement;
  if (box) sessionStorage.setItem("heed.problem", box.open ? box.textContent.trim() : "");
});
fold(document.querySelector(".problem"));

const hints = find("hints");
hints.hidden = localStorage.getItem("heed.hints") === "seen";
hints.querySelector("button").addEventListener("click", () => {
  localStorage.setItem("heed.hints", "seen");
  hints.hidden = true;
});

listen();
