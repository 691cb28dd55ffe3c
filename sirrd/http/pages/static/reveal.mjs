// The page of one secret. Nothing is asked for, and so nothing is spent, before the button is pressed; and it is not
// pressed for anything that cannot work: a link without its key, a browser without cryptography, a passed expiry.

import { newReading, read, received } from "./attempt.mjs";
import { keysOf, open, parseFragment, textOf } from "./link.mjs";
import { $, begun, copies, counted, isBusy, look, once, onLeaving, size, text } from "./page.mjs";

const form = $("reveal");
const button = form.querySelector("button");
const isLocked = form.dataset.locked === "true";
const { seconds } = form.dataset;
const expiresAt = seconds === "" ? Infinity : Date.now() + Number(seconds) * 1000;
const secret = `../secrets/${location.pathname.split("/").pop()}`;
const suffix = document.title.slice($("offer").querySelector("h1").textContent.length);
const SHOWN_BYTES = 256 * 1024;
let fragment = null;
// A reading whose answer was lost; the next press goes on with it.
let reading = null;
let isDone = false;
let isUnsaved = false;
let isLeft = false;
let shown = "";
let blob = "";

/** Shows one part of the page in place of all others. */
function show(part) {
  for (const each of document.querySelectorAll("main > section")) each.hidden = each !== part;
  $("again").hidden = !["lost", "over", "offline", "unavailable", "limited"].includes(part.dataset.notice);
  document.title = part.querySelector("h1").textContent + suffix;
}

function notice(name) {
  const part = document.querySelector(`[data-notice="${name}"]`);
  show(part);
  part.focus();
}

/** Looks at the link, and offers what can be done with it. */
function begin() {
  if (isDone) return;
  fragment = parseFragment(location.hash.slice(1));
  wrong(false);
  if (Date.now() >= expiresAt) return notice("expired");
  if (isLocked && fragment === null) return notice("incomplete");
  if (fragment !== null && !globalThis.crypto?.subtle) return notice("insecure");
  form.hidden = false;
  $("ask").hidden = !fragment?.needsPassphrase;
  $("passphrase").required = !$("ask").hidden;
  show($("offer"));
}

// While the button works, it is the link as it was that counts; the next press looks at it again.
const beginAgain = () => isBusy(button) || begin();

function wrong(isWrong) {
  $("wrong").hidden = !isWrong;
  $("passphrase").setAttribute("aria-invalid", isWrong);
}

/** Looks what hinders, which spends nothing. Returns the name of a notice; null too where looking is not possible. */
async function hindering() {
  const { state } = await look(secret).catch(() => ({ state: "offline" }));
  return ["there", "unknown"].includes(state) ? null : state;
}

/** Says that it is asked for again, and whether anybody would see the answer. */
function goOn() {
  $("working").textContent = text("retrying");
  return !isLeft;
}

function passphraseWrong() {
  wrong(true);
  $("passphrase").focus();
  $("passphrase").select();
}

async function reveal() {
  const wasHidden = $("ask").hidden;
  begin();
  if ($("offer").hidden || $("ask").hidden !== wasHidden) return;
  const link = fragment;
  const passphrase = $("passphrase").value;
  // Once an answer was lost, a look would find "gone" what this reading itself has used up.
  const hindrance = reading?.isUncertain ? null : await hindering();
  // The server tells whole seconds, so it may have been this much earlier.
  if (hindrance === "gone" && Date.now() >= expiresAt - 1500) return notice("expired");
  if (hindrance) return notice(hindrance);
  const keys = link && (await keysOf(link, link.needsPassphrase ? passphrase : ""));
  if (isLeft) return; // Nobody would see it.
  const now = (reading ??= newReading());
  const headers = { Accept: "application/json", ...(isLocked && { "X-Sirr-Proof": keys.proof }) };
  const { value, name } = await read(secret, headers, now, goOn);
  if (!now.isOpen || !now.attempt) reading = null;
  if (name === "wrong" && link.needsPassphrase) return passphraseWrong();
  if (name) return notice(name === "wrong" ? "incomplete" : name);
  let content = { name: null, data: new TextEncoder().encode(value) };
  let isOpen = true;
  try {
    if (keys) content = await open(value, keys.encryption);
  } catch {
    isOpen = false; // The read is spent: whoever has what was read may still find out what it is.
  }
  // A repeat is asked for no proof, so another passphrase than the one before shows only here.
  if (!isOpen && isLocked && now.isUncertain && link.needsPassphrase) {
    reading = now;
    return passphraseWrong();
  }
  isDone = isUnsaved = true;
  present(content);
  received(secret, now);
  $("undecrypted").hidden = isOpen;
  await sayWhatIsLeft();
}

/** Shows a text, or offers a file; the focus goes to what was asked for. */
function present({ name, data }) {
  let isText = data.length <= SHOWN_BYTES || name === null;
  try {
    shown = isText ? textOf(data) : "";
  } catch {
    isText = false;
  }
  const isFile = name !== null || !isText;
  // What turns the direction of writing makes a name look like another one.
  const label = (name ?? "").replace(/[\p{Cc}\p{Cf}]/gu, "") || "secret";
  blob = URL.createObjectURL(new Blob([data], { type: "application/octet-stream" }));
  $("download").onclick = () => {
    Object.assign(document.createElement("a"), { href: blob, download: label }).click();
    isUnsaved = false;
  };
  $("file").hidden = $("download").hidden = !isFile;
  $("text").hidden = $("copy").hidden = $("hide").hidden = !isText;
  $("copy").classList.toggle("main", !isFile);
  $("value").value = shown;
  $("value").rows = Math.min(20, Math.max(3, shown.split("\n").length + 1));
  $("passphrase").value = "";
  document.querySelector("footer nav").hidden = true; // It would load the page anew.
  show($("shown"));
  (isFile ? $("download") : $("value")).focus();
  $("file").textContent = text("shown_file", { name: `\u2068${label}\u2069`, size: size(data.length) });
}

async function sayWhatIsLeft() {
  const { state, left } = await look(secret).catch(() => ({}));
  const said = { gone: "shown_last", sealed: "shown_sealed" }[state] ?? "shown_unchecked";
  if (state !== "there") $("left").textContent = text(said);
  else $("left").textContent = left === "unlimited" ? text("often_unlimited") : counted("left", left);
}

const kept = () => (isUnsaved = false);
form.addEventListener("submit", once(button, reveal));
$("again").querySelector("button").addEventListener("click", () => {
  begin();
  if ($("offer").hidden) return;
  $("offer").focus();
  if (reading?.isUncertain) form.requestSubmit(); // There is little time to go on with it.
});
$("hide").addEventListener("click", () => {
  $("text").hidden = !$("text").hidden;
  $("hide").textContent = text($("text").hidden ? "show" : "hide");
});
copies($("copy"), $("value"), { exact: () => shown, then: kept }); // The field would make all line breaks alike.
$("value").addEventListener("copy", ({ target }) => {
  if (target.selectionStart === 0 && target.selectionEnd === target.value.length) kept();
});
addEventListener("hashchange", beginAgain);
onLeaving(() => isUnsaved || isBusy(button), () => {
  $("value").value = $("passphrase").value = $("file").textContent = shown = "";
  URL.revokeObjectURL(blob);
  fragment = reading = null;
  isLeft = true;
  isUnsaved = false;
});
begin();
begun();
