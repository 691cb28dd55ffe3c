// What both pages need. No text stands here but units: the server writes them into the page, in the reader's language.
// Nothing is ever kept: no cookie, no storage.

export const $ = (id) => document.getElementById(id);
const language = document.documentElement.lang;

/** Whoever reads English in London writes dates as London does. */
function preferred() {
  try {
    return Intl.getCanonicalLocales(navigator.languages.filter((each) => each.split("-")[0] === language))[0] ?? language;
  } catch {
    return language; // Some systems have names for languages that the browser itself does not take.
  }
}
const locale = preferred();

/** Returns a text of the page, with what stands in braces filled in. */
export function text(name, values = {}) {
  const found = $("texts").content.getElementById(name).textContent;
  return found.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** Says how many, in the form of the number: only one is one, in every language of the pages. */
export const counted = (name, n) => text(`${name}_${n === "1" ? "one" : "more"}`, { n });

/** Says in how many seconds or minutes. */
export function soon(seconds) {
  const [n, unit] = seconds < 90 ? [seconds, "second"] : [Math.ceil(seconds / 60), "minute"];
  return new Intl.RelativeTimeFormat(locale).format(n, unit);
}

const TIME = { year: "numeric", month: "long", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };
export const localTime = (date) => date.toLocaleString(locale, TIME);

export function size(bytes) {
  const [unit, divisor] = bytes < 1e3 ? ["B", 1] : bytes < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  // Rounded down, so that what is said to fit does fit.
  return `${(Math.floor((bytes / divisor) * 10) / 10).toLocaleString(locale)} ${unit}`;
}

/** Looks at a secret, which spends nothing; a proxy may make a GET of it, so it says what it is meant to be. */
export async function look(secret) {
  const headers = { "X-Sirr-Look": "true" };
  const answer = await fetch(secret, { method: "HEAD", headers, cache: "no-store" });
  const [viewed, left] = ["Read-Count", "Reads-Remaining"].map((name) => answer.headers.get(`X-Sirr-${name}`));
  return { state: stateOf(answer, left), viewed, left };
}

/** Says "unknown" where a look is refused, or answered by something that is no sirrd: then nobody has looked. */
function stateOf({ ok, status, headers }, left) {
  if (ok) return left === null ? "unknown" : "there";
  if (status === 429) return "limited";
  if (status >= 500 && status !== 501) return "unavailable";
  const isOurs = headers.get("Content-Type")?.startsWith("application/json");
  return (isOurs && { 404: "gone", 410: "sealed" }[status]) || "unknown";
}

/** Copies a text; where the browser gives no clipboard to the page, by selecting the field that shows it. */
async function copy(exact, field) {
  try {
    await navigator.clipboard.writeText(exact);
    return true;
  } catch {
    field.focus();
    field.select();
    return document.activeElement === field && document.execCommand("copy");
  }
}

/** Makes a button copy what a field shows, and say in the live region beside it whether it did. */
export function copies(button, field, { exact = () => field.value, then }) {
  button.addEventListener("click", async () => {
    const done = await copy(exact(), field);
    button.parentElement.querySelector("[role=status]").textContent = text(done ? "copied" : "not_copied");
    if (done) then();
  });
}

/** Runs something once at a time: a second click, or an impatient Enter, changes nothing. */
export function once(button, run) {
  return async (event) => {
    event.preventDefault();
    if (isBusy(button)) return;
    button.setAttribute("aria-busy", "true");
    $("working").textContent = text("working");
    try {
      await run();
    } finally {
      button.removeAttribute("aria-busy");
      $("working").textContent = "";
    }
  };
}

export const isBusy = (button) => button.hasAttribute("aria-busy");

/** Runs when the page is left, so that the back-forward cache gets nothing, and begins anew when it is come back to. */
export function onLeaving(isUnsaved, forget) {
  let isAgreed = false;
  addEventListener("beforeunload", (event) => {
    if (!isAgreed && isUnsaved()) event.preventDefault();
    isAgreed = false;
  });
  // Not every browser asks, so the page does before its own links leave it.
  document.querySelector("nav").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || !event.target.closest("a") || !isUnsaved()) return;
    isAgreed = confirm(text("leave_sure"));
    if (!isAgreed) event.preventDefault();
  });
  addEventListener("pagehide", forget);
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

/** Takes away what is said where no script runs, however that came about. */
export const begun = () => document.querySelector(".late")?.remove();

// The server never sees the fragment, so only the page can take it along to another language.
const takeAlong = () => document.querySelectorAll("nav a").forEach((link) => (link.hash = location.hash));
addEventListener("hashchange", takeAlong);
takeAlong();
for (const time of document.querySelectorAll("time")) time.textContent = localTime(new Date(time.dateTime));
