// Links of version 1 as the pages make and open them. Reads a JSON array of tasks from standard input and writes the
// answers: {"open": {fragment, passphrase, value}}, {"seal": {fragment, passphrase, name, type, data}} or
// {"make": {needsPassphrase, times}}; bytes are hex, answers also hold the proof in base64url and the lock in hex.

import * as link from "../../sirrd/http/pages/static/link.mjs";

const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const keysOf = ({ fragment, passphrase }) => link.keysOf(link.parseFragment(fragment), passphrase ?? "");

async function open(task) {
  const { encryption, proof, lock } = await keysOf(task);
  const { name, type, data } = await link.open(task.value, encryption);
  return { proof, lock, name, type, data: toHex(data) };
}

async function seal({ name, type, data, ...task }) {
  const { encryption, proof, lock } = await keysOf(task);
  const content = { name, type, data: fromHex(data) };
  const size = link.sealedSize({ ...content, size: content.data.length });
  return { proof, lock, size, value: await link.seal(content, encryption) };
}

const make = ({ needsPassphrase, times }) => Array.from({ length: times }, () => link.newFragment(needsPassphrase));

let input = "";
for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
const answers = [];
for (const task of JSON.parse(input)) {
  if (task.make) answers.push(make(task.make));
  else answers.push(await (task.open ? open(task.open) : seal(task.seal)));
}
process.stdout.write(JSON.stringify(answers));
