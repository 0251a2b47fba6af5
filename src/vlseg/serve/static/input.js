// Pointer, wheel, touch and keys on the image.

import {
  beginStroke, brushing, cancelStroke, continueStroke, cursor, endStroke, liftBrush, moveCursor, setBrush, setTool,
  toggleBrush,
} from "./brush.js";
import { app, changed } from "./state.js";
import { camera, fit, panBy, placeAt, scaleOf, zoomBy } from "./view.js";

const STEP = 1.3;

/** Makes a canvas listen. */
export function listen(canvas) {
  const fingers = new Map();
  let drawing = false;
  canvas.addEventListener("wheel", (event) => {
    if (!app.image) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    zoomBy(canvas, app.image, Math.exp(-event.deltaY * lines * 0.0015), event.clientX, event.clientY);
    changed();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (!app.image || event.button > 1) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    liftBrush();
    if (fingers.size > 1 && drawing) {
      cancelStroke();
      drawing = false;
    } else if (fingers.size === 1 && event.button === 0 && brushing()) {
      drawing = true;
      follow(event);
      beginStroke({ ...cursor });
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!app.image) return;
    if (brushing()) follow(event);
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (drawing) continueStroke({ ...cursor });
    else if (fingers.size === 1) drag(before, event);
    else if (fingers.size === 2) pinch([...fingers.values()].find((one) => one.pointerId !== event.pointerId), before, event);
    fingers.set(event.pointerId, event);
  });
  const up = (event) => {
    fingers.delete(event.pointerId);
    if (drawing) endStroke();
    drawing = false;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => {
    cursor.shown = cursor.down;
    changed();
  });
  canvas.addEventListener("blur", liftBrush);
  canvas.addEventListener("keydown", (event) => {
    if (app.image && !event.ctrlKey && !event.metaKey && !event.altKey && pressed(canvas, event)) event.preventDefault();
  });

  function follow(event) {
    Object.assign(cursor, placeAt(canvas, app.image, event.clientX, event.clientY), { shown: true });
    changed();
  }

  function drag(before, event) {
    const scale = scaleOf(canvas, app.image);
    panBy(app.image, (before.clientX - event.clientX) / scale, (before.clientY - event.clientY) / scale);
    changed();
  }

  function pinch(other, before, event) {
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const [x, y] = [(event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2];
    if (apart(before) > 0) zoomBy(canvas, app.image, apart(event) / apart(before), x, y);
    const scale = scaleOf(canvas, app.image) * 2;
    panBy(app.image, (before.clientX - event.clientX) / scale, (before.clientY - event.clientY) / scale);
    changed();
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Whether the key meant something here. */
function pressed(canvas, event) {
  if (event.key in ARROWS) {
    arrow(canvas, ARROWS[event.key], event.shiftKey);
    return true;
  }
  const size = app.brush < 10 ? 1 : 4;
  const keys = {
    "+": () => zoomBy(canvas, app.image, STEP),
    "=": () => zoomBy(canvas, app.image, STEP),
    "-": () => zoomBy(canvas, app.image, 1 / STEP),
    0: () => fit(app.image),
    "[": () => setBrush(app.brush - size),
    "]": () => setBrush(app.brush + size),
    m: () => setTool("move"),
    a: () => take("add"),
    e: () => take("erase"),
  };
  if (brushing()) keys[" "] = toggleBrush;
  if (cursor.down) keys.Escape = liftBrush;
  const work = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!work) return false;
  work();
  changed();
  return true;
}

function take(tool) {
  if (app.compare) return;
  setTool(tool);
  Object.assign(cursor, { x: Math.floor(camera.x) + 0.5, y: Math.floor(camera.y) + 0.5, shown: true });
}

function arrow(canvas, [dx, dy], far) {
  if (brushing()) {
    moveCursor(far ? 10 * dx : dx, far ? 10 * dy : dy);
    return;
  }
  const part = (far ? 0.5 : 0.1) / scaleOf(canvas, app.image);
  panBy(app.image, dx * part * canvas.clientWidth, dy * part * canvas.clientHeight);
  changed();
}

export { STEP };
