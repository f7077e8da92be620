// The first page: live data that refreshes itself, and a form whose answer appears in place.

// Milliseconds.
const REFRESH_INTERVAL = 10_000;
const MAX_REFRESH_INTERVAL = 120_000;
const REFRESH_AFTER_ANSWER = 1_200; // the live data, which is rendered once a second, contains the submission by then
const SLOW_RESPONSE = 2_000;

const FAILURES = ["htmx:sendError", "htmx:timeout"];

const live = document.getElementById("live");
const form = document.querySelector("form");
const field = () => form.elements.number; // each answer replaces it
const show = (id, visible) => (document.getElementById(id).hidden = !visible);

// Refreshes back off while the service is slow or unreachable, and stop while the page is hidden.
let interval = REFRESH_INTERVAL;
let timer;
let requestedAt;
let shown;

const refresh = () => htmx.trigger(live, "refresh");

const schedule = (milliseconds = interval) => {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, milliseconds);
};

const refreshed = (ok) => {
  const fast = performance.now() - requestedAt < SLOW_RESPONSE;
  interval = ok && fast ? REFRESH_INTERVAL : Math.min(2 * interval, MAX_REFRESH_INTERVAL);
  show("stale", !ok);
  schedule();
};

live.addEventListener("htmx:beforeRequest", () => (requestedAt = performance.now()));
live.addEventListener("htmx:beforeSwap", ({ detail }) => {
  detail.shouldSwap = detail.xhr.status === 200 && detail.xhr.response !== shown;
  if (detail.shouldSwap) shown = detail.xhr.response;
});
live.addEventListener("htmx:afterOnLoad", ({ detail }) => refreshed(detail.xhr.status === 200));
for (const failure of FAILURES) live.addEventListener(failure, () => refreshed(false));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
// After Back, the browser shows an old state of the page, from one of its caches.
if (performance.getEntriesByType("navigation")[0]?.type === "back_forward") refresh();
else schedule();

// A double click is one submission, and so is holding Enter down.
form.addEventListener("click", (event) => event.detail > 1 && event.target.matches("button") && event.preventDefault());
form.addEventListener("keydown", (event) => event.repeat && event.key === "Enter" && event.preventDefault());

// Each submission has an idempotency key. A retry uses the same key until the page knows whether the submission was
// recorded. (crypto.randomUUID does not exist on pages served over plain http.)
let key;
form.addEventListener("htmx:configRequest", ({ detail }) => {
  key ??= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  detail.parameters.key = key;
});

let sent;
form.addEventListener("htmx:beforeRequest", () => {
  sent = field().value;
  htmx.trigger(live, "htmx:abort"); // its response would be older than the answer
  schedule();
});
form.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  detail.shouldSwap = field().value === sent; // otherwise the user is typing the next number
});
form.addEventListener("htmx:afterOnLoad", ({ detail: { xhr } }) => {
  if (xhr.status < 500 && xhr.status !== 409) key = null;
  shown = null;
  show("unreachable", false);
  field().focus();
  if (field().value === sent) field().select();
  schedule(REFRESH_AFTER_ANSWER);
});
for (const failure of FAILURES) form.addEventListener(failure, () => show("unreachable", true));

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
