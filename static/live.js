// The first page: figures that refresh themselves, and a form that is answered in place.
const OFTEN = 10_000; // milliseconds
const SOON = 1_200; // after an answer: by then the figures, which are made once a second, contain it
const SELDOM = 120_000;
const SLOW = 2_000;
const FAULTS = ["htmx:sendError", "htmx:timeout"];

const live = document.getElementById("live");
const form = document.querySelector("form");
const field = () => form.elements.number; // each answer brings a new one
const show = (id, shown) => (document.getElementById(id).hidden = !shown);

// Seldom while the service is slow or away; never while nobody looks.
let pause = OFTEN;
let timer;
let asked;
let seen;

const ask = () => htmx.trigger(live, "refresh");

const later = (milliseconds = pause) => {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, milliseconds);
};

const heard = (well) => {
  pause = well && performance.now() - asked < SLOW ? OFTEN : Math.min(2 * pause, SELDOM);
  show("old", !well);
  later();
};

live.addEventListener("htmx:beforeRequest", () => (asked = performance.now()));
live.addEventListener("htmx:beforeSwap", ({ detail }) => {
  detail.shouldSwap = detail.xhr.status === 200 && detail.xhr.response !== seen;
  if (detail.shouldSwap) seen = detail.xhr.response;
});
live.addEventListener("htmx:afterOnLoad", ({ detail }) => heard(detail.xhr.status === 200));
for (const fault of FAULTS) live.addEventListener(fault, () => heard(false));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
// After a step back, a browser shows the page as it was, from one of its caches.
if (performance.getEntriesByType("navigation")[0]?.type === "back_forward") ask();
else later();

// A double click is one submission, and so is an Enter that is held.
form.addEventListener("click", (event) => event.detail > 1 && event.target.matches("button") && event.preventDefault());
form.addEventListener("keydown", (event) => event.repeat && event.key === "Enter" && event.preventDefault());

// Each submission has a key, by which it counts once. It is sent again with the same key as long as it is not known
// whether it was recorded. (crypto.randomUUID does not exist on pages that come by plain http.)
let key;
form.addEventListener("htmx:configRequest", ({ detail }) => {
  key ??= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  detail.parameters.key = key;
});

let sent;
form.addEventListener("htmx:beforeRequest", () => {
  sent = field().value;
  htmx.trigger(live, "htmx:abort"); // what is on its way will be older than the answer
  later();
});
form.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  detail.shouldSwap = field().value === sent; // else the next number is being typed
});
form.addEventListener("htmx:afterOnLoad", ({ detail: { xhr } }) => {
  if (xhr.status < 500 && xhr.status !== 409) key = null;
  seen = null;
  show("away", false);
  field().focus();
  if (field().value === sent) field().select();
  later(SOON);
});
for (const fault of FAULTS) form.addEventListener(fault, () => show("away", true));

// Rows that change places glide there.
const still = matchMedia("(prefers-reduced-motion: reduce)");
const places = () => new Map([...live.querySelectorAll(".top li")].map((row) => [row.id, row.offsetTop]));
let before = places();
document.body.addEventListener("htmx:beforeSwap", () => (before = places()));
document.body.addEventListener("htmx:afterSwap", () => {
  for (const [id, top] of places()) {
    const way = before.get(id) - top;
    if (way && !still.matches) {
      const steps = [{ transform: `translateY(${way}px)` }, { transform: "none" }];
      document.getElementById(id).animate(steps, { duration: 400, easing: "ease-out" });
    }
  }
  before = places();
});
