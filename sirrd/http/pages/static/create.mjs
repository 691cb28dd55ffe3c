// The page that makes dead drops. The key of a link, and the API key of the server, are in its memory and nowhere else.

import { keysOf, labelsOf, newFragment, parseFragment, seal, sealedSize } from "./link.mjs";
import { $, begun, copies, counted, isBusy, localTime, look, once, onLeaving, size, soon, text } from "./page.mjs";
import { qr } from "./qr.mjs";

const form = $("create");
const button = form.querySelector("button[type=submit]");
const limit = Number(form.dataset.bytes);
const POLL_MS = 15000;
// The field of a file forgets what was chosen when another choice is cancelled.
let held = null;
let isPlain = false;
let isUnsaved = false;
let made = null;
let timer = 0;

/** Says what is wrong, and brings whoever asked to the field that it is about. */
function problem(name, values, field = button) {
  $("problem").textContent = text(name, values);
  $("problem").hidden = $("fields").disabled = false;
  if (field !== button) field.setAttribute("aria-invalid", "true");
  field.focus();
}

function noProblem() {
  $("problem").textContent = "";
  $("problem").hidden = true;
  for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
}

/** How many bytes fit, of a text or of a file with these labels. */
const room = (labels) => Math.max(0, Math.floor(((limit - sealedSize({ ...labels, size: 0 })) * 3) / 4));

const bearer = () => ($("key")?.value ? { Authorization: `Bearer ${$("key").value}` } : {});

/** Returns what is to be shared, as {name, type, size, data}; null, and a word about why, if it cannot be. */
async function content(isSealed) {
  const chosen = held;
  const typed = new TextEncoder().encode($("value").value);
  if (!chosen && !typed.length) return problem("problem_empty", {}, $("value"));
  const labels = chosen ? labelsOf(chosen) : { name: null, type: null };
  const given = { ...labels, size: chosen ? chosen.size : typed.length };
  const most = isSealed ? room(labels) : limit;
  if (given.size > most) return problem("problem_large", { size: size(most) }, chosen ? $("file") : $("value"));
  try {
    return { ...given, data: chosen ? new Uint8Array(await chosen.arrayBuffer()) : typed };
  } catch {
    return problem("problem_file", {}, $("file"));
  }
}

/** Sends it. Returns the id, or null after a word about why there is none. */
async function store(body) {
  const headers = { "Content-Type": "application/json", ...bearer() };
  let answer;
  try {
    answer = await fetch("secrets", { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    return problem("problem_lost");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 201 && found.id) return found.id;
  if (answer.status === 401 && $("key")) return problem("problem_key", {}, $("key"));
  if (answer.status === 429) return problem("problem_limited", { when: soon(Number(answer.headers.get("Retry-After")) || 60) });
  if ([503, 507].includes(answer.status)) return problem("problem_unavailable");
  return problem("problem_server", { why: found.error ?? answer.status });
}

async function create() {
  noProblem();
  if (/[^\x21-\x7e]/.test($("key")?.value ?? "")) return problem("problem_key", {}, $("key")); // It would fit no header.
  $("fields").disabled = true;
  try {
    await make();
  } catch {
    problem("problem_lost");
  }
}

async function make() {
  const isSealed = $("encrypt").checked;
  if (!isSealed && $("passphrase").value) {
    $("encrypt").closest("details").open = true;
    return problem("problem_passphrase", {}, $("encrypt"));
  }
  const given = await content(isSealed);
  if (!given) return;
  const passphrase = isSealed ? $("passphrase").value : "";
  const body = {
    ttl_seconds: $("ttl").value === "" ? null : Number($("ttl").value),
    max_reads: $("reads").value === "" ? null : Number($("reads").value),
    delete: $("last")?.value !== "seals",
  };
  let fragment = "";
  let proof = null;
  if (isSealed) {
    const hash = newFragment(passphrase !== "");
    const keys = await keysOf(parseFragment(hash), passphrase);
    [fragment, proof] = [`#${hash}`, keys.proof];
    Object.assign(body, { value: await seal(given, keys.encryption), lock: keys.lock });
  } else body.value = $("value").value;
  const endsAt = body.ttl_seconds === null ? Infinity : Date.now() + body.ttl_seconds * 1000;
  const id = await store(body);
  if (!id) return;
  const base = form.dataset.base ? `${form.dataset.base}/` : location.href;
  made = { id, proof, link: `${new URL(`s/${id}`, base)}${fragment}`, endsAt, turn: 0 };
  present(passphrase !== "");
}

/** Shows the link, and everything that can be done with it. */
function present(hasPassphrase) {
  const reads = $("reads").selectedOptions[0].textContent.toLocaleLowerCase();
  $("link").value = made.link;
  $("apart").hidden = !hasPassphrase;
  $("check").hidden = false;
  $("destroy").hidden = $("limit") && !made.proof; // Nobody could show that it is theirs.
  clear();
  isUnsaved = true;
  $("form").hidden = true;
  $("ready").hidden = false;
  $("ready").focus();
  watch(text("status_unopened"));
  const isLasting = made.endsAt === Infinity;
  const expiry = isLasting ? text("expires_never") : text("expires", { time: localTime(new Date(made.endsAt)) });
  $("message").value = text("message_text", { link: made.link, reads, expiry });
  try {
    $("qr").replaceChildren(drawn(qr(made.link)));
    $("qr").parentElement.hidden = false;
  } catch {
    $("qr").parentElement.hidden = true; // It is too long for a code.
  }
}

/** Begins anew, but for the key of the server. */
function clear() {
  const key = $("key")?.value;
  form.reset();
  if (key) $("key").value = key;
  $("fields").disabled = isPlain = false;
  hold(null);
}

/** Draws the modules of a code in one path, with the quiet zone of four around it. */
function drawn(rows) {
  const [svg, path] = ["svg", "path"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  const side = rows.length + 8;
  const square = (dark, x, y) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : "");
  path.setAttribute("d", rows.flatMap((row, y) => row.map((dark, x) => square(dark, x, y))).join(""));
  svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
  svg.append(path);
  return svg;
}

/** Says a state, and goes on looking while it can change. */
function watch(state, isLast = false) {
  // Or a screen reader would repeat it at every look.
  if ($("status").textContent !== state) $("status").textContent = state;
  clearTimeout(timer);
  timer = isLast ? 0 : setTimeout(() => (document.hidden ? watch(state) : check()), POLL_MS);
  if (!isLast) return;
  isUnsaved = false;
  if ([$("check"), $("destroy")].includes(document.activeElement)) $("another").focus();
  $("check").hidden = $("destroy").hidden = true;
}

/** Asks by HEAD, which spends nothing, whether it was opened. */
async function check() {
  const { id, endsAt } = made;
  const isCurrent = asking();
  try {
    const { state, viewed, left } = await look(`secrets/${id}`);
    if (!isCurrent()) return;
    // The server counts whole seconds, so it may have been this much earlier.
    const gone = Date.now() >= endsAt - 1500 ? "status_expired" : "status_gone";
    if (state === "gone") watch(text(gone), true);
    else if (state === "sealed") watch(text("status_sealed"));
    else if (state !== "there") watch(text("status_unknown"));
    else if (viewed === "0") watch(text("status_unopened"));
    else watch(`${counted("viewed", viewed)} ${left === "unlimited" ? text("often_unlimited") : counted("left", left)}`);
  } catch {
    if (isCurrent()) watch(text("status_unknown"));
  }
}

/** Begins a request about the secret; what comes back tells whether it is still the latest one. */
function asking() {
  const about = made;
  const turn = ++about.turn;
  return () => made === about && about.turn === turn;
}

/** Only what the server confirms is called destroyed: somebody else may have been faster. */
async function destroy() {
  const about = made;
  const headers = about.proof && !$("key")?.value ? { "X-Sirr-Proof": about.proof } : bearer();
  clearTimeout(timer);
  $("destroy").setAttribute("aria-busy", "true");
  const answer = await fetch(`secrets/${about.id}`, { method: "DELETE", headers }).catch(() => null);
  $("destroy").removeAttribute("aria-busy");
  if (made !== about) return;
  about.turn++; // A look that is under way is older.
  if (answer?.ok) watch(text("status_destroyed"), true);
  else if (answer?.status === 404) await check();
  else watch(text("status_alive"));
}

function forget() {
  clearTimeout(timer);
  made = null;
  isUnsaved = false;
  clear();
  for (const name of ["link", "message"]) $(name).value = "";
  $("qr").replaceChildren();
  for (const said of $("ready").querySelectorAll("[role=status]")) said.textContent = "";
}

/** Follows the choice of a file: it takes the place of the text, and is always encrypted. */
function chose() {
  const isFile = held !== null;
  $("typed").hidden = isFile;
  $("chosen").hidden = !isFile;
  $("encrypt").checked = isFile || !isPlain;
  $("encrypt").disabled = isFile;
  $("sealed").hidden = isPlain && !isFile;
  $("plain").hidden = !$("sealed").hidden;
  // One that was typed can be taken back.
  $("passphrase").disabled = $("sealed").hidden && !$("passphrase").value;
}

/** Holds a file, or none. */
function hold(given) {
  const transfer = new DataTransfer();
  if (given) transfer.items.add(given);
  $("file").files = transfer.files;
  held = given;
  chose();
}

const quoted = ({ name }) => `\u2068${name}\u2069`;
const isReady = () => !$("form").hidden && !$("fields").disabled && !$("which").open;

/** Asks which of two things is to be sent. Until that is answered both are there; without an answer, what was there. */
async function asked(old, given) {
  $("which").querySelectorAll("button").forEach((each, n) => (each.textContent = n ? given : old));
  $("which").returnValue = "";
  $("which").showModal();
  await new Promise((resolve) => $("which").addEventListener("close", resolve, { once: true }));
  return $("which").returnValue === "new";
}

/** Takes a file, from wherever it comes; never silently in the place of something else. */
async function take(files) {
  const [given] = files;
  if (!isReady() || !given) return hold(held);
  if (files.length > 1) return problem("problem_files", {}, $("file"));
  noProblem();
  const isSame = held && ["name", "size", "lastModified"].every((each) => held[each] === given[each]);
  const old = held ? quoted(held) : $("value").value && text("which_text");
  if (!old || isSame) return hold(given);
  hold((await asked(old, quoted(given))) ? given : held);
  (held ? $("file") : $("value")).focus();
}

function dropped(event) {
  document.body.classList.remove("dropping");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault(); // Or the browser would leave the page, and show the file.
  take(event.dataTransfer.files);
}

/** Some systems copy the name along with a file, and editors a picture along with a text. */
async function pasted(event) {
  const { files } = event.clipboardData;
  const words = event.clipboardData.getData("text/plain");
  if (files.length && ["", files[0].name].includes(words.trim())) {
    event.preventDefault();
    return take(files);
  }
  if (!words || !held || !isReady() || event.target.matches?.("input:not([type=file])")) return;
  if (!(await asked(quoted(held), text("which_text")))) return;
  hold(null);
  $("value").value = words;
  $("value").focus();
}

form.addEventListener("submit", once(button, create));
$("file").addEventListener("change", () => take($("file").files));
$("remove").addEventListener("click", () => {
  hold(null);
  $("file").focus();
});
$("encrypt").addEventListener("change", () => {
  isPlain = !$("encrypt").checked;
  chose();
});
$("check").addEventListener("click", check);
$("destroy").addEventListener("click", () => {
  if (isBusy($("destroy"))) return;
  $("sure").returnValue = "";
  $("sure").showModal();
});
$("sure").addEventListener("close", () => $("sure").returnValue === "yes" && destroy());
$("another").addEventListener("click", () => {
  if (isUnsaved && !confirm(text("another_sure"))) return;
  forget();
  $("ready").hidden = true;
  $("form").hidden = false;
  $("value").focus();
});
const kept = { then: () => (isUnsaved = false) };
copies($("copy-link"), $("link"), kept);
copies($("copy-message"), $("message"), kept);
for (const name of ["link", "message"]) $(name).addEventListener("copy", kept.then);
$("link").addEventListener("focus", () => $("link").select());

addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  if ($("form").hidden) return;
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
addEventListener("drop", dropped);
addEventListener("paste", pasted);
// The draft is nowhere else, and neither is a link that was not copied.
const isWork = () => isUnsaved || held !== null || ["value", "passphrase"].some((name) => $(name).value !== "");
onLeaving(isWork, () => {
  if ($("key")) $("key").value = "";
  forget();
});

$("limit")?.append(size(room({ name: null, type: null })));
chose();
$(globalThis.crypto?.subtle ? "form" : "insecure").hidden = false;
begun();
