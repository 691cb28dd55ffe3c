// QR codes of texts, as the page makes them. Reads a JSON array of texts from standard input and writes the answers:
// rows of 0 and 1, or one row with the name of an error.

import { qr } from "../../sirrd/http/pages/static/qr.mjs";

function answer(text) {
  try {
    return qr(text).map((row) => row.map((isDark) => (isDark ? "1" : "0")).join(""));
  } catch (error) {
    return [error.name];
  }
}

let input = "";
for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
process.stdout.write(JSON.stringify(JSON.parse(input).map(answer)));
