// PNG of one grey channel, read and written to the bit: a canvas may change values (browsers that blur what pages read).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const NOTICE = "Research use, not a medical device.";
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

const through = async (bytes, stream) =>
  new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());

/** {width, height, values} of a PNG of 1 or 8 bits of grey; values as stored: 0 and 1, or 0 to 255. */
export async function decodeGrey(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!SIGNATURE.every((byte, at) => bytes[at] === byte)) throw new Error("no PNG");
  let header = null;
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") header = at + 8;
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  if (header === null) throw new Error("a PNG without a header");
  const [width, height] = [view.getUint32(header), view.getUint32(header + 4)];
  const [depth, kind, , , interlaced] = bytes.subarray(header + 8, header + 13);
  if ((depth !== 1 && depth !== 8) || kind !== 0 || interlaced) throw new Error("no PNG of 1 or 8 bits of grey");
  const raw = await through(await new Blob(parts).arrayBuffer(), new DecompressionStream("deflate"));
  const row = depth === 8 ? width : Math.ceil(width / 8);
  if (raw.length !== (row + 1) * height) throw new Error("a PNG that ends early");
  const lines = unfiltered(raw, row, height);
  return { width, height, values: depth === 8 ? lines : unpacked(lines, width, height, row) };
}

function unfiltered(raw, row, height) {
  const out = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (row + 1)];
    const from = y * (row + 1) + 1;
    const to = y * row;
    for (let x = 0; x < row; x++) {
      const left = x ? out[to + x - 1] : 0;
      const up = y ? out[to + x - row] : 0;
      const corner = x && y ? out[to + x - row - 1] : 0;
      out[to + x] = raw[from + x] + predicted(filter, left, up, corner);
    }
  }
  return out;
}

function predicted(filter, left, up, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

function unpacked(lines, width, height, row) {
  const out = new Uint8Array(width * height);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) out[at] = (lines[y * row + (x >> 3)] >> (7 - (x & 7))) & 1;
  return out;
}

/** A PNG of a mask (0 and not 0): of 1 bit, or of 8 bits with 0 and 255. It says what it is for. */
export async function encodeMask(mask, width, height, bits = 1) {
  const row = bits === 8 ? width : Math.ceil(width / 8);
  const raw = new Uint8Array((row + 1) * height);
  for (let y = 0, at = 0; y < height; y++) {
    const to = y * (row + 1) + 1;
    for (let x = 0; x < width; x++, at++) {
      if (!mask[at]) continue;
      if (bits === 8) raw[to + x] = 255;
      else raw[to + (x >> 3)] |= 128 >> (x & 7);
    }
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = bits;
  const chunks = [
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", header),
    chunk("tEXt", new TextEncoder().encode(`Comment\0${NOTICE}`)),
    chunk("IDAT", await through(raw, new CompressionStream("deflate"))),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

function chunk(kind, content) {
  const out = new Uint8Array(content.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, content.length);
  out.set(new TextEncoder().encode(kind), 4);
  out.set(content, 8);
  let sum = 0xffffffff;
  for (let at = 4; at < content.length + 8; at++) sum = TABLE[(sum ^ out[at]) & 255] ^ (sum >>> 8);
  view.setUint32(content.length + 8, (sum ^ 0xffffffff) >>> 0);
  return out;
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
