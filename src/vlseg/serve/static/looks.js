// Colours and patterns of masks: Okabe and Ito's colours, each with a pattern of its own.

export const LOOKS = [
  { colour: "#56b4e9", pattern: "plain" },
  { colour: "#e69f00", pattern: "rising" },
  { colour: "#009e73", pattern: "dots" },
  { colour: "#cc79a7", pattern: "falling" },
  { colour: "#f0e442", pattern: "level" },
  { colour: "#d55e00", pattern: "upright" },
  { colour: "#0072b2", pattern: "cross" },
];
export const BOTH = { colour: "#ffffff", pattern: "plain" };
const TILE = 12;

/** A tile that repeats: the colour thinly, its pattern strongly. */
export function tile({ colour, pattern }, ratio = 1) {
  const canvas = document.createElement("canvas");
  const size = Math.round(TILE * ratio);
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  context.scale(size / TILE, size / TILE);
  context.fillStyle = colour;
  context.globalAlpha = pattern === "plain" ? 0.85 : 0.55;
  context.fillRect(0, 0, TILE, TILE);
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = 2.2;
  drawn(context, pattern);
  return canvas;
}

function drawn(context, pattern) {
  const lines = {
    rising: [[-3, 3, 3, -3], [-3, 15, 15, -3], [9, 15, 15, 9]],
    falling: [[9, -3, 15, 3], [-3, -3, 15, 15], [-3, 9, 3, 15]],
    level: [[0, 6, TILE, 6]],
    upright: [[6, 0, 6, TILE]],
    cross: [[0, 6, TILE, 6], [6, 0, 6, TILE]],
  };
  for (const [x, y, toX, toY] of lines[pattern] ?? []) {
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(toX, toY);
    context.stroke();
  }
  if (pattern === "dots") {
    context.beginPath();
    context.arc(6, 6, 2.6, 0, 2 * Math.PI);
    context.fill();
  }
}

/** A small picture of the look, for legends. */
export function swatch(look, size = 22) {
  const ratio = window.devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size * ratio;
  canvas.className = "look";
  const context = canvas.getContext("2d");
  context.fillStyle = "#1b1f24";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = context.createPattern(tile(look, ratio), "repeat");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = look.colour;
  context.lineWidth = 4 * ratio;
  context.strokeRect(0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}
