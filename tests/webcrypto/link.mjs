// Links of version 1 with nothing but WebCrypto, as docs/formats.md describes them. Reads a JSON array of tasks from
// standard input and writes the answers: {"open": {fragment, passphrase, value}} or {"seal": {fragment, passphrase,
// name, type, data}}; bytes are hex, answers also hold the proof in base64url and the lock in hex.

const MARKER = "sirr1.";
const utf8 = new TextEncoder();
const subtle = globalThis.crypto.subtle;

const concat = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));
const toHex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const fromBase64url = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
const toBase64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function hkdf(secret, purpose) {
  const key = await subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const info = utf8.encode(`sirr link v1 ${purpose}`);
  const bits = await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info }, key, 256);
  return new Uint8Array(bits);
}

async function keysOf(fragment, passphrase) {
  const [version, ...rest] = fromBase64url(fragment);
  if ((version === 0x11) !== (passphrase !== null) || (version !== 0x10 && version !== 0x11)) throw new Error("version");
  let secret = Uint8Array.from(rest);
  if (passphrase !== null) {
    const salt = await hkdf(secret, "salt");
    const text = utf8.encode(passphrase.normalize("NFC"));
    const key = await subtle.importKey("raw", text, "PBKDF2", false, ["deriveBits"]);
    const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations: 600000 };
    secret = concat(secret, new Uint8Array(await subtle.deriveBits(how, key, 256)));
  }
  const proof = await hkdf(secret, "proof");
  const encryption = await subtle.importKey("raw", await hkdf(secret, "key"), "AES-GCM", false, ["encrypt", "decrypt"]);
  return { encryption, proof: toBase64url(proof), lock: toHex(await subtle.digest("SHA-256", proof)) };
}

function label(text) {
  const bytes = utf8.encode(text ?? "");
  return concat([bytes.length >> 8, bytes.length & 255], bytes);
}

function takeLabel(bytes) {
  const end = 2 + bytes[0] * 256 + bytes[1];
  if (!(end <= bytes.length)) throw new Error("truncated");
  return [new TextDecoder("utf-8", { fatal: true }).decode(bytes.slice(2, end)) || null, bytes.slice(end)];
}

async function open({ fragment, passphrase, value }) {
  const { encryption, proof, lock } = await keysOf(fragment, passphrase);
  if (!value.startsWith(MARKER)) throw new Error("not sealed");
  const packed = fromBase64url(value.slice(MARKER.length));
  const how = { name: "AES-GCM", iv: packed.slice(0, 12), additionalData: utf8.encode(MARKER) };
  const plain = new Uint8Array(await subtle.decrypt(how, encryption, packed.slice(12)));
  const [name, rest] = takeLabel(plain);
  const [type, data] = takeLabel(rest);
  return { proof, lock, name, type, data: toHex(data) };
}

async function seal({ fragment, passphrase, name, type, data }) {
  const { encryption, proof, lock } = await keysOf(fragment, passphrase);
  const iv = globalThis.crypto.getRandomValues(new Uint8Array(12));
  const how = { name: "AES-GCM", iv, additionalData: utf8.encode(MARKER) };
  const sealed = await subtle.encrypt(how, encryption, concat(label(name), label(type), fromHex(data)));
  return { proof, lock, value: MARKER + toBase64url(concat(iv, new Uint8Array(sealed))) };
}

let input = "";
for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
const answers = [];
for (const task of JSON.parse(input)) answers.push(await (task.open ? open(task.open) : seal(task.seal)));
process.stdout.write(JSON.stringify(answers));
