// Small pictures of masks for tables: the browser's reading of the image, below the mask.

import { bytesOf } from "./api.js";
import { own } from "./image.js";
import { decodeGrey, fromBase64 } from "./png.js";

const [WIDE, HIGH] = [96, 72]; // pixels of the screen, at most

/** {width, height, canvas} of an image, small; dark where the browser cannot show what the model sees. */
export async function pictureFor(file, { width, height }) {
  const scale = Math.min(WIDE / width, HIGH / height) * (window.devicePixelRatio || 1);
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d");
  context.fillStyle = "#101317";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const picture = await own(file, await bytesOf(file), { width, height });
  if (!picture) return canvas;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return canvas;
}

/** A canvas of the small image with a mask (base64 PNG) on it; however small, no part of the mask vanishes. */
export async function thumb(picture, mask, look) {
  const { width, height } = picture;
  const ratio = window.devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  Object.assign(canvas.style, { width: `${width / ratio}px`, height: `${height / ratio}px` });
  canvas.setAttribute("aria-hidden", "true"); // what it shows stands in its line: state and area
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const found = small(await decodeGrey(fromBase64(mask)), width, height);
  context.fillStyle = look.colour;
  for (const [alpha, wanted] of [[0.45, 1], [1, 2]]) {
    context.globalAlpha = alpha;
    for (let at = 0; at < found.length; at++) if (found[at] === wanted) context.fillRect(at % width, Math.floor(at / width), 1, 1);
  }
  return canvas;
}

/** 0, 1 (inside) or 2 (at the border) for each pixel of the small picture: where any pixel of the mask is. */
function small({ width, height, values }, wide, high) {
  const any = new Uint8Array(wide * high);
  if (width >= wide) {
    for (let y = 0, at = 0; y < height; y++) {
      const row = Math.floor((y * high) / height) * wide;
      for (let x = 0; x < width; x++, at++) if (values[at]) any[row + Math.floor((x * wide) / width)] = 1;
    }
  } else {
    for (let y = 0, at = 0; y < high; y++)
      for (let x = 0; x < wide; x++, at++) any[at] = values[Math.floor((y * height) / high) * width + Math.floor((x * width) / wide)];
  }
  return any.map((value, at) => {
    if (!value) return 0;
    const [x, y] = [at % wide, Math.floor(at / wide)];
    const inside = x > 0 && x < wide - 1 && y > 0 && y < high - 1 && any[at - 1] && any[at + 1] && any[at - wide] && any[at + wide];
    return inside ? 1 : 2;
  });
}
