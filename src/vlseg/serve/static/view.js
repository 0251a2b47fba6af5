// The image with its masks on canvases that share zoom and place.

import { tile } from "./looks.js";

export const camera = { zoom: 1, x: 0, y: 0 }; // 1 fits the image; the place, in pixels of the image, in the middle
const MOST = 64;

const ratio = () => window.devicePixelRatio || 1;

/** Pixels of the screen (not of the device) that a pixel of the image takes. */
export function scaleOf(canvas, image) {
  return Math.min(canvas.clientWidth / image.width, canvas.clientHeight / image.height) * camera.zoom;
}

/** The place in the image below a point of the window. */
export function placeAt(canvas, image, clientX, clientY) {
  const box = canvas.getBoundingClientRect();
  const scale = scaleOf(canvas, image);
  return {
    x: camera.x + (clientX - box.left - canvas.clientWidth / 2) / scale,
    y: camera.y + (clientY - box.top - canvas.clientHeight / 2) / scale,
  };
}

/** Zooms so that the point of the window stays where it is; without one, the middle. */
export function zoomBy(canvas, image, factor, clientX = null, clientY = null) {
  const before = clientX === null ? null : placeAt(canvas, image, clientX, clientY);
  camera.zoom = Math.min(MOST, Math.max(1, camera.zoom * factor));
  if (before) {
    const after = placeAt(canvas, image, clientX, clientY);
    panBy(image, before.x - after.x, before.y - after.y);
  } else panBy(image, 0, 0);
}

/** Moves by pixels of the image; its middle third stays in sight. */
export function panBy(image, dx, dy) {
  const free = camera.zoom > 1.001;
  camera.x = free ? Math.min(image.width, Math.max(0, camera.x + dx)) : image.width / 2;
  camera.y = free ? Math.min(image.height, Math.max(0, camera.y + dy)) : image.height / 2;
}

export function fit(image) {
  Object.assign(camera, { zoom: 1, x: image.width / 2, y: image.height / 2 });
}

/** Draws the image and layers {path, look, broken}, strongest last; `ring` is the brush: {x, y, radius}. */
export function draw(canvas, image, layers, { opacity, ring = null }) {
  const size = [Math.round(canvas.clientWidth * ratio()), Math.round(canvas.clientHeight * ratio())];
  if (!size[0] || !size[1]) return;
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, ...size);
  const scale = scaleOf(canvas, image) * ratio();
  context.setTransform(scale, 0, 0, scale, size[0] / 2 - camera.x * scale, size[1] / 2 - camera.y * scale);
  context.imageSmoothingEnabled = scale < 3 * ratio();
  context.imageSmoothingQuality = "medium";
  context.drawImage(image.picture, 0, 0, image.width, image.height);
  for (const layer of layers) drawLayer(context, layer, opacity, scale);
  if (ring) drawRing(context, ring, scale);
}

function drawLayer(context, { path, look, broken }, opacity, scale) {
  const pattern = context.createPattern(tile(look, ratio()), "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / scale)); // as large on the screen at any zoom
  context.globalAlpha = opacity;
  context.fillStyle = pattern;
  context.fill(path, "evenodd");
  context.globalAlpha = 1;
  context.lineJoin = "round";
  const unit = ratio() / scale;
  for (const [width, colour] of [[4.5, "#000000b0"], [2.25, look.colour]]) {
    context.setLineDash(broken ? [7 * unit, 5 * unit] : []);
    context.lineWidth = width * unit;
    context.strokeStyle = colour;
    context.stroke(path);
  }
  context.setLineDash([]);
}

function drawRing(context, { x, y, radius }, scale) {
  const unit = ratio() / scale;
  for (const [width, colour] of [[3.5, "#000000c0"], [1.5, "#ffffff"]]) {
    context.lineWidth = width * unit;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.moveTo(x - 4 * unit, y);
    context.lineTo(x + 4 * unit, y);
    context.moveTo(x, y - 4 * unit);
    context.lineTo(x, y + 4 * unit);
    context.stroke();
  }
}
