// Masks as arrays of 0 and 1, one value a pixel, and what is computed from them.

export const ADDED = 1;
export const ERASED = 2;

/** Where the probability is above k / 100, exactly: `hundredths` are 100 p rounded up. */
export function above(hundredths, k) {
  return hundredths.map((value) => (value > k ? 1 : 0));
}

/** A mask with a person's corrections on top. */
export function corrected(base, edit) {
  if (!edit) return base;
  return base.map((value, at) => (edit[at] === ADDED ? 1 : edit[at] === ERASED ? 0 : value));
}

/** The corrections that lead from one mask to another; null where there are none. */
export function correctionsTo(base, wanted) {
  const edit = base.map((value, at) => (value === wanted[at] ? 0 : wanted[at] ? ADDED : ERASED));
  return edit.some(Boolean) ? edit : null;
}

/** The same for a part of a mask, in place. */
export function correctPart(mask, base, edit, width, { left, top, right, bottom }) {
  for (let y = top; y <= bottom; y++)
    for (let at = y * width + left; at <= y * width + right; at++)
      mask[at] = edit[at] === ADDED ? 1 : edit[at] === ERASED ? 0 : base[at];
}

export function area(mask) {
  let count = 0;
  for (let at = 0; at < mask.length; at++) count += mask[at];
  return count;
}

/** Three masks and their areas: only in a, only in b, in both. */
export function difference(a, b) {
  const masks = { a: new Uint8Array(a.length), b: new Uint8Array(a.length), both: new Uint8Array(a.length) };
  for (let at = 0; at < a.length; at++) {
    if (a[at] && b[at]) masks.both[at] = 1;
    else if (a[at]) masks.a[at] = 1;
    else if (b[at]) masks.b[at] = 1;
  }
  return { masks, areas: { a: area(masks.a), b: area(masks.b), both: area(masks.both) } };
}

/** Sets what lies within `radius` of the way from one point to another, and says which part of the mask that touched.

Points are in pixels; a pixel counts by its centre. The part is {left, top, right, bottom}, ends included. */
export function stroke(edit, width, height, from, to, radius, value) {
  const reach = Math.max(radius, 0.5);
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - reach));
  const right = Math.min(width - 1, Math.ceil(Math.max(from.x, to.x) + reach));
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - reach));
  const bottom = Math.min(height - 1, Math.ceil(Math.max(from.y, to.y) + reach));
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const long = dx * dx + dy * dy;
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const [px, py] = [x + 0.5 - from.x, y + 0.5 - from.y];
      const along = long ? Math.min(1, Math.max(0, (px * dx + py * dy) / long)) : 0;
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= reach * reach) edit[y * width + x] = value;
    }
  }
  return { left, top, right, bottom };
}

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]];

/** The borders of a mask along the edges of pixels, as one path in pixels: closed, filled by "evenodd". */
export function outline(mask, width, height) {
  const path = new Path2D();
  const wide = width + 1;
  const edges = edgesOf(mask, width, height);
  for (let start = 0; start < edges.length; start++) {
    while (edges[start]) follow(path, edges, start, wide);
  }
  return path;
}

/** A bit for each direction in which an edge leaves a corner, with the mask on its right. */
function edgesOf(mask, width, height) {
  const wide = width + 1;
  const edges = new Uint8Array(wide * (height + 1));
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!mask[at]) continue;
      const corner = y * wide + x;
      if (y === 0 || !mask[at - width]) edges[corner] |= 1;
      if (x === width - 1 || !mask[at + 1]) edges[corner + 1] |= 2;
      if (y === height - 1 || !mask[at + width]) edges[corner + wide + 1] |= 4;
      if (x === 0 || !mask[at - 1]) edges[corner + wide] |= 8;
    }
  }
  return edges;
}

function follow(path, edges, start, wide) {
  let at = start;
  let direction = 31 - Math.clz32(edges[at] & -edges[at]);
  path.moveTo(at % wide, Math.floor(at / wide));
  for (;;) {
    edges[at] &= ~(1 << direction);
    at += STEPS[direction][0] + STEPS[direction][1] * wide;
    const turns = [(direction + 1) & 3, direction, (direction + 3) & 3];
    const next = turns.find((turn) => edges[at] & (1 << turn));
    if (next === undefined) break;
    if (next !== direction) path.lineTo(at % wide, Math.floor(at / wide));
    direction = next;
  }
  path.closePath();
}
