// One reading that a person wants, however often it has to be asked for: the server knows it again by its attempt, and
// spends one view. The attempt is in the memory of the page and nowhere else.

import { newAttempt } from "./link.mjs";

const PAUSES_MS = [300, 1000, 2000];
const WITHIN_MS = 60000;
const SILENCE_MS = 20000;

// The refusals of sirrd that spend nothing. Whatever else comes in its stead, nobody knows.
const NAMES = {
  not_found: "gone",
  sealed: "sealed",
  proof_required: "incomplete",
  proof_mismatch: "wrong",
  too_many_proofs: "limited",
  rate_limited: "limited",
  too_many_repeats: "over",
  attempt_over: "over",
  foreign_request: "foreign",
  unreadable: "unreadable",
  busy: "unavailable",
  storage_unavailable: "unavailable",
};
// After these the same reading may still come to its value.
const OPEN = ["lost", "unavailable", "limited"];
// These are true whatever became of an earlier try: a known attempt is asked for no proof.
const CERTAIN = ["wrong", "over"];

/** Begins a reading. */
export const newReading = () => ({ attempt: newAttempt(), isUncertain: false, isOpen: true });

/** Takes a body in, and says at each piece that there is one. */
async function whole(body, goesOn) {
  const reader = body.getReader();
  const pieces = [];
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    pieces.push(piece.value);
    goesOn();
  }
  return new Blob(pieces).text();
}

/** Asks once. Returns {value}, or {name} of what went wrong. */
async function ask(secret, headers, isNamed) {
  const hangUp = new AbortController();
  let timer = 0;
  const goesOn = () => {
    clearTimeout(timer);
    timer = setTimeout(() => isNamed && hangUp.abort(), SILENCE_MS); // Without an attempt it would lose the value.
  };
  goesOn();
  try {
    const answer = await fetch(secret, { headers, cache: "no-store", signal: hangUp.signal });
    const { value, code } = JSON.parse(await whole(answer.body, goesOn));
    return answer.ok && typeof value === "string" ? { value } : { name: NAMES[code] ?? "lost" };
  } catch {
    return { name: "lost" };
  } finally {
    clearTimeout(timer);
  }
}

// Asks for a secret: nothing else on the page spends a view. What is lost on the way is asked for again, four times in
// all, unless `goOn`, which is called before, says no. Returns {value}, or {name} of what went wrong.
export async function read(secret, headers, reading, goOn) {
  const { attempt } = reading;
  const until = performance.now() + WITHIN_MS;
  const all = attempt ? { ...headers, "X-Sirr-Attempt": attempt } : headers;
  for (let n = 0; ; n++) {
    const { value, name } = await ask(secret, all, attempt !== null);
    reading.isUncertain ||= name === "lost";
    reading.isOpen = OPEN.includes(name);
    const isLast = !attempt || n === PAUSES_MS.length || performance.now() + PAUSES_MS[n] > until;
    if (!["lost", "unavailable"].includes(name) || isLast || !goOn()) {
      return { value, name: reading.isUncertain && name && !CERTAIN.includes(name) ? "lost" : name };
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[n]));
  }
}

/** Says that the value is there, so that the server forgets what it keeps for a repeat. */
export function received(secret, { attempt }) {
  const headers = { "X-Sirr-Attempt": attempt };
  if (attempt) fetch(`${secret}/received`, { method: "POST", headers, keepalive: true }).catch(() => {});
}
