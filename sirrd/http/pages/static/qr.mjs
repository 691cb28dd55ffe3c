// QR codes, made in the page because a link holds a key that no server may see. The algorithm is ISO/IEC 18004:2015's,
// cut down to Model 2, byte mode, level M, and versions 1 to 20, which is far more than a link needs. No ECI header
// announces UTF-8: readers guess it, and some fail at a header.

const { abs, ceil, floor, max, min } = Math;

// Bytes that fit (table 7) and blocks (table 9), by version.
const CAPACITIES = [14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504, 560, 624, 666];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16];

// A mask inverts the modules of row i and column j where it is 0 (table 10).
const MASKS = [
  (i, j) => (i + j) % 2,
  (i) => i % 2,
  (i, j) => j % 3,
  (i, j) => (i + j) % 3,
  (i, j) => ((i >> 1) + floor(j / 3)) % 2,
  (i, j) => ((i * j) % 2) + ((i * j) % 3),
  (i, j) => (i * j + ((i * j) % 3)) % 2,
  (i, j) => (i + j + ((i * j) % 3)) % 2,
];

const list = (length, of) => Array.from({ length }, (_, k) => of(k));
const square = (size, of) => list(size, (i) => list(size, (j) => of(i, j)));
const bit = (number, at) => ((number >> at) & 1) === 1;

// A product in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1.
function times(a, b) {
  let product = 0;
  for (; b; b >>= 1, a = (a << 1) ^ (a & 128 && 0x11d)) if (b & 1) product ^= a;
  return product;
}

// Reed-Solomon codewords: what remains of a block divided by (x - 2^0)(x - 2^1)...
function errorCorrection(block, degree) {
  let divisor = [1];
  for (let root = 1; divisor.length <= degree; root = times(root, 2)) {
    divisor = [...divisor, 0].map((factor, k) => factor ^ times(root, divisor[k - 1]));
  }
  const rest = [...block, ...list(degree, () => 0)];
  for (const at of block.keys()) {
    const first = rest[at];
    divisor.forEach((factor, k) => (rest[at + k] ^= times(factor, first)));
  }
  return rest.slice(-degree);
}

// With its BCH code.
function bch(number, divisor, degree) {
  let rest = number << degree;
  for (let k = 5; k >= 0; k--) if (bit(rest, k + degree)) rest ^= divisor << k;
  return (number << degree) | rest;
}

// A symbol without codewords (undefined) and format information. It is its own mirror image, so the lesser and the
// greater coordinate tell what a module is.
function functionPatterns(version) {
  const size = 4 * version + 17;
  const gaps = floor(version / 7) + 1;
  const step = 2 * ceil((2 * version + 2) / gaps); // The rule that table E.1 follows.
  const centres = [6, ...list(gaps, (k) => size - 7 - k * step)];
  const nearest = list(size, (at) => centres.find((centre) => abs(at - centre) < 3));
  return square(size, (i, j) => {
    const [low, high] = i < j ? [i, j] : [j, i];
    const finder = max(abs(low - 3), min(abs(high - 3), abs(high - size + 4)));
    if (finder < 5) return finder !== 2 && finder !== 4;
    if (low === 6) return high % 2 === 0;
    if (high === 8 || (low === 8 && high > size - 9)) return false;
    if (version > 6 && low < 6 && high > size - 12) return bit(bch(version, 0x1f25, 12), 3 * low + high - size + 11);
    const alignment = max(abs(low - nearest[low]), abs(high - nearest[high]));
    const isFree = version === 1 || (nearest[low] === 6 && nearest[high] === size - 7);
    return alignment < 3 && !isFree ? alignment !== 1 : undefined;
  });
}

// The places of codewords' bits: up and down in pairs of columns, but for column 6.
function encodingRegion(symbol) {
  const found = [];
  for (let pair = symbol.length - 1; pair > 0; pair -= 2) {
    const right = pair > 6 ? pair : pair - 1;
    for (const k of symbol.keys()) {
      const i = pair % 4 ? k : symbol.length - 1 - k;
      for (const j of [right, right - 1]) if (symbol[i][j] === undefined) found.push([i, j]);
    }
  }
  return found;
}

// Each block's first codeword, then each block's second; the last block is the longest.
const interleave = (blocks) => blocks.at(-1).flatMap((_, k) => blocks.flatMap((block) => block.slice(k, k + 1)));

// All codewords of a version that has room for so many.
function message(bytes, version, total) {
  const size = bytes.length;
  // Mode and terminator are half a byte, so a codeword is the end of one byte and the start of the next.
  const parts = [4, ...(version < 10 ? [] : [size >> 8]), size & 255, ...bytes, 0];
  const data = parts.slice(1).map((part, k) => ((parts[k] & 15) << 4) | (part >> 4));
  const length = CAPACITIES[version - 1] + data.length - size;
  for (let pad = 0xec; data.length < length; pad ^= 0xec ^ 0x11) data.push(pad);
  const count = BLOCKS[version - 1];
  const blocks = list(count, (k) => data.splice(0, floor((length + k) / count)));
  const corrections = blocks.map((block) => errorCorrection(block, (total - length) / count));
  return [blocks, corrections].flatMap(interleave);
}

// Format information, twice, and the dark module. Level M is 00.
function addFormat(symbol, mask) {
  const size = symbol.length;
  for (let k = 0; k < 15; k++) {
    const isDark = bit(bch(mask, 0x537, 10) ^ 0x5412, k);
    if (k < 8) symbol[k < 6 ? k : k + 1][8] = symbol[8][size - 1 - k] = isDark;
    else symbol[8][k < 9 ? 7 : 14 - k] = symbol[size - 15 + k][8] = isDark;
  }
  symbol[size - 8][8] = true;
}

// The penalty (7.8.3). A likeness of a finder pattern counts once, not once for each side. Real ones are always there, so
// no match is null.
function penalty(symbol) {
  const size = symbol.length;
  const lines = [...symbol, ...square(size, (i, j) => symbol[j][i])].map((line) => line.map(Number).join(""));
  const runs = lines.join().match(/(.)\1{4,}/g);
  const finders = `0000${lines.join("0000")}0000`.match(/(?=10111010000|00001011101(?!0000))/g);
  const sums = square(size - 1, (i, j) => symbol[i][j] + symbol[i][j + 1] + symbol[i + 1][j] + symbol[i + 1][j + 1]);
  const blocks = sums.flat().filter((sum) => sum % 4 === 0);
  const dark = symbol.flat().filter(Boolean);
  const deviation = floor(abs((20 * dark.length) / size ** 2 - 10));
  return runs.join("").length - 2 * runs.length + 3 * blocks.length + 40 * finders.length + 10 * deviation;
}

// The smallest QR code of a text: rows of booleans, true where dark, without quiet zone. A RangeError, if none fits.
export function qr(text) {
  const bytes = new TextEncoder().encode(text);
  const version = CAPACITIES.findIndex((capacity) => bytes.length <= capacity) + 1;
  if (!version) throw new RangeError("too long for a QR code");
  const symbol = functionPatterns(version);
  const region = encodingRegion(symbol);
  const codewords = message(bytes, version, region.length >> 3);
  const symbols = MASKS.map((mask, number) => {
    region.forEach(([i, j], k) => (symbol[i][j] = bit(codewords[k >> 3], 7 - (k % 8)) !== (mask(i, j) === 0)));
    addFormat(symbol, number);
    return symbol.map((row) => [...row]);
  });
  const penalties = symbols.map(penalty);
  return symbols[penalties.indexOf(min(...penalties))];
}
