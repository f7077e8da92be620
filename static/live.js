// The first page: live data that refreshes itself, and a form whose answer appears in place. It uses what browsers of
// 2020 know, as htmx does; where it does not run, home.css shows a note.

// Milliseconds.
const REFRESH_INTERVAL = 10000;
const MAX_REFRESH_INTERVAL = 120000;
const MAX_COPY_AGE = 5000; // of live data: the service keeps it for one second, a cache in front of it for up to three
const SLOW_RESPONSE = 2000;
const NOTE_DELAY = 500; // until a note says that a number is on its way

const live = document.getElementById("live");
const form = document.querySelector("form");
const field = () => form.elements.number; // each answer replaces it
const show = (id, visible) => (document.getElementById(id).hidden = !visible);
const setText = (id, text) => (document.getElementById(id).textContent = text);

document.getElementById("stale").className = "";
show("stale", !window.htmx);

// Refreshes back off while the service is slow or unreachable, and stop while the page is hidden or a number is on its
// way. A copy that may be older than an answer does not replace it.
let interval = REFRESH_INTERVAL;
let timer;
let requestedAt;
let shown;
let sent = null; // the number on its way
let answeredAt = -MAX_COPY_AGE;

const refresh = () => htmx.trigger(live, "refresh");

const schedule = (milliseconds = interval) => {
  clearTimeout(timer);
  if (document.hidden || sent !== null) return;
  const delay = Math.max(milliseconds, answeredAt + MAX_COPY_AGE - performance.now());
  if (delay > 0) timer = setTimeout(refresh, delay);
  else refresh();
};

live.addEventListener("htmx:beforeRequest", () => (requestedAt = performance.now()));
live.addEventListener("htmx:beforeSwap", ({ detail }) => {
  detail.shouldSwap = detail.xhr.status === 200 && detail.xhr.response !== shown;
  if (detail.shouldSwap) shown = detail.xhr.response;
});
live.addEventListener("htmx:afterRequest", ({ detail: { xhr } }) => {
  if (sent !== null) return; // aborted below
  const fast = performance.now() - requestedAt < SLOW_RESPONSE;
  interval = xhr.status === 200 && fast ? REFRESH_INTERVAL : Math.min(2 * interval, MAX_REFRESH_INTERVAL);
  show("stale", xhr.status !== 200);
  schedule();
});
document.addEventListener("visibilitychange", () => schedule(0));
// After Back, the browser shows an old state of the page, from one of its caches.
schedule(performance.getEntriesByType("navigation")[0]?.type === "back_forward" ? 0 : interval);

// A double click is one submission, and so is holding Enter down.
form.addEventListener("click", (event) => event.detail > 1 && event.target.matches("button") && event.preventDefault());
form.addEventListener("keydown", (event) => event.repeat && event.key === "Enter" && event.preventDefault());

// One number is sent at a time. Another one entered in the meantime stays in the field until it is sent.
let isNext = false;
let noteTimer;
form.addEventListener("htmx:confirm", (event) => {
  if (sent === null) return;
  event.preventDefault();
  if (field().value === sent) return;
  clearTimeout(noteTimer);
  setText("waiting", `Sending ${sent}. ${field().value} is next.`);
  isNext = field().readOnly = true;
});

// Each number has an idempotency key until it is answered, so that a retry is counted once. An error does not end that:
// it says what became of its own request, not of an earlier one whose response was lost.
// (crypto.randomUUID does not exist on pages served over plain http.)
const keys = new Map();
const canonical = (text) => text.replace(/[\s\p{Cf}+]/gu, "").replace(/^(-?)0+(?=\d)/, "$1");
const hex = (byte) => byte.toString(16).padStart(2, "0");
form.addEventListener("htmx:configRequest", ({ detail }) => {
  const number = canonical(field().value);
  if (!keys.has(number)) keys.set(number, Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join(""));
  detail.parameters.key = keys.get(number);
});

form.addEventListener("htmx:beforeRequest", () => {
  sent = field().value;
  noteTimer = setTimeout(setText, NOTE_DELAY, "waiting", `Sending ${sent} …`);
  htmx.trigger(live, "htmx:abort"); // its response could be older than the answer
  schedule();
});
form.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  if (detail.target.id === "field") detail.shouldSwap = field().value === sent; // else it has the next number
});
form.addEventListener("htmx:afterRequest", ({ detail: { xhr } }) => {
  const ok = xhr.status === 200;
  const isOther = field().value !== sent;
  clearTimeout(noteTimer);
  setText("waiting", isOther && !ok ? `No result for ${sent}. ${field().value} is not sent yet.` : "");
  show("unreachable", !xhr.status);
  if (xhr.status && !ok) setText("share", "");
  if (ok) {
    keys.delete(canonical(sent));
    answeredAt = performance.now();
    shown = null;
  }
  sent = null;
  field().readOnly = false;
  field().focus();
  if (!isOther) field().select();
  if (ok && isNext) htmx.trigger(form, "submit");
  isNext = false;
  schedule(ok ? 0 : interval);
});

// Rows whose rank changes move there in an animation.
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const positions = () => new Map([...live.querySelectorAll(".top li")].map((row) => [row.id, row.offsetTop]));
let before = positions();
document.body.addEventListener("htmx:beforeSwap", () => (before = positions()));
document.body.addEventListener("htmx:afterSwap", () => {
  for (const [id, top] of positions()) {
    const distance = before.get(id) - top;
    if (distance && !reducedMotion.matches) {
      const steps = [{ transform: `translateY(${distance}px)` }, { transform: "none" }];
      document.getElementById(id).animate(steps, { duration: 400, easing: "ease-out" });
    }
  }
  before = positions();
});
