// Links with the key in the fragment, and the values that they open: version 1, byte by byte in docs/formats.md.

const MARKER = "sirr1.";
const ROUNDS = 600000;
const WITHOUT_PASSPHRASE = 0x10;
const WITH_PASSPHRASE = 0x11;
const SECRET_BYTES = 32;
const DRAWS = 100;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const MAX_NAME_BYTES = 255;
const MEDIA_TYPE = /^[A-Za-z0-9!#$&^_.+-]{1,127}\/[A-Za-z0-9!#$&^_.+-]{1,127}$/;
const { subtle } = globalThis.crypto ?? {};
const utf8 = new TextEncoder();

/** Refuses what is no UTF-8, and keeps a byte order mark: it belongs to the text. */
export const textOf = (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);

function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Unpadded base64url (RFC 4648). Pieces, since a function takes only so many arguments. */
function encoded(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decoded(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  if (encoded(bytes) !== text) throw new Error("not canonical");
  return bytes;
}

/** Makes the fragment of a new link. It ends in a letter or a digit: chats leave a - or _ out of what they make clickable. */
export function newFragment(needsPassphrase) {
  for (let draw = 0; draw < DRAWS; draw += 1) {
    const secret = globalThis.crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
    const made = encoded(concat([needsPassphrase ? WITH_PASSPHRASE : WITHOUT_PASSPHRASE], secret));
    if (!/[-_]$/.test(made)) return made;
  }
  throw new Error("the source of randomness says the same again and again");
}

/** Makes what a reading is known by; null where the browser has no randomness to give. */
export function newAttempt() {
  const { crypto } = globalThis;
  return crypto?.getRandomValues ? encoded(crypto.getRandomValues(new Uint8Array(32))) : null;
}

/** Parses a fragment without its #, into {secret, needsPassphrase}; null if it is none of a known version. */
export function parseFragment(text) {
  try {
    const bytes = /^[A-Za-z0-9_-]{44}$/.test(text) ? decoded(text) : [];
    if (bytes[0] !== WITHOUT_PASSPHRASE && bytes[0] !== WITH_PASSPHRASE) return null;
    return { secret: bytes.slice(1), needsPassphrase: bytes[0] === WITH_PASSPHRASE };
  } catch {
    return null;
  }
}

async function derived(secret, purpose) {
  const key = await subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: utf8.encode(`sirr link v1 ${purpose}`) };
  return new Uint8Array(await subtle.deriveBits(how, key, 256));
}

async function stretched(secret, passphrase) {
  const key = await subtle.importKey("raw", utf8.encode(passphrase.normalize("NFC")), "PBKDF2", false, ["deriveBits"]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt: await derived(secret, "salt"), iterations: ROUNDS };
  return new Uint8Array(await subtle.deriveBits(how, key, 256));
}

/** Derives the key of the value, what is shown to the server (base64url), and the lock that it is given (hex). */
export async function keysOf({ secret, needsPassphrase }, passphrase = "") {
  if (needsPassphrase !== (passphrase !== "")) throw new Error("a passphrase exactly where the link needs one");
  const base = needsPassphrase ? concat(secret, await stretched(secret, passphrase)) : secret;
  const proof = await derived(base, "proof");
  const hash = new Uint8Array(await subtle.digest("SHA-256", proof));
  return {
    encryption: await subtle.importKey("raw", await derived(base, "key"), "AES-GCM", false, ["encrypt", "decrypt"]),
    proof: encoded(proof),
    lock: Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join(""),
  };
}

function label(text) {
  const bytes = utf8.encode(text ?? "");
  return concat([bytes.length >> 8, bytes.length & 255], bytes);
}

function takeLabel(bytes) {
  const end = 2 + bytes[0] * 256 + bytes[1];
  if (!(end <= bytes.length)) throw new Error("truncated");
  return [textOf(bytes.subarray(2, end)) || null, bytes.subarray(end)];
}

/** What a file is called, and is, as it may stand in a value. */
export function labelsOf(file) {
  const bytes = utf8.encode(file.name);
  const end = new TextDecoder().decode(bytes.subarray(-MAX_NAME_BYTES)).replace(/^\ufffd+/, "");
  const name = bytes.length > MAX_NAME_BYTES ? end : file.name;
  return { name: name || null, type: MEDIA_TYPE.test(file.type) ? file.type : "application/octet-stream" };
}

/** How many bytes a value takes once it is sealed. */
export function sealedSize({ name, type, size }) {
  const plain = label(name).length + label(type).length + size;
  return MARKER.length + Math.ceil(((NONCE_BYTES + plain + TAG_BYTES) * 4) / 3);
}

const gcm = (nonce) => ({ name: "AES-GCM", iv: nonce, additionalData: utf8.encode(MARKER) });

/** Seals {name, type, data} into a value that the server stores. */
export async function seal({ name, type, data }, key) {
  const nonce = globalThis.crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const sealed = await subtle.encrypt(gcm(nonce), key, concat(label(name), label(type), data));
  return MARKER + encoded(concat(nonce, new Uint8Array(sealed)));
}

/** Opens what `seal` made; throws if it does not open. */
export async function open(value, key) {
  if (!value.startsWith(MARKER)) throw new Error("not sealed");
  const packed = decoded(value.slice(MARKER.length));
  const plain = await subtle.decrypt(gcm(packed.slice(0, NONCE_BYTES)), key, packed.slice(NONCE_BYTES));
  const [name, rest] = takeLabel(new Uint8Array(plain));
  const [type, data] = takeLabel(rest);
  return { name, type, data };
}
