// @ts-check
/** The viewer's picture as a PNG: the tiles with their names and numbers, the colour bar, and what was averaged. */
import { colourTable, drawMap } from "../shared/colour.js";
import { say } from "../shared/i18n.js";
import { largest, number } from "../shared/numbers.js";

const SIDE = 384;
const GAP = 16;
const LINE = 20;

/**
 * @param {import("./model.js").Model} model
 * @param {HTMLImageElement | null} picture
 * @returns {HTMLCanvasElement}
 */
export function drawExport(model, picture) {
  const groups = model.shown();
  const tops = model.tops(groups);
  const shared = model.choices.scale !== "own" || groups.length === 1;
  const [height, width] = model.header.latent.map((side) =>
    Math.round((SIDE * side) / Math.max(...model.header.latent)),
  );
  const across = Math.min(groups.length, 4);
  const down = Math.ceil(groups.length / across);
  const canvas = document.createElement("canvas");
  canvas.width = GAP + across * (width + GAP) + 72;
  canvas.height = GAP + down * (height + 2 * LINE + GAP) + 2 * LINE;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.textBaseline = "middle";
  context.textAlign = "center";
  const layer = document.createElement("canvas");
  [layer.width, layer.height] = [width, height];
  groups.forEach((group, at) => {
    const [x, y] = [GAP + (at % across) * (width + GAP), GAP + Math.floor(at / across) * (height + 2 * LINE + GAP)];
    const map = model.map(group);
    if (picture) context.drawImage(picture, x, y, width, height);
    drawMap(layer, map, model.volume.grid, {
      top: tops[at],
      colours: model.choices.colours,
      opacity: picture ? model.choices.opacity : 1,
    });
    context.drawImage(layer, x, y);
    write(context, group.label, x + width / 2, y + height + LINE * 0.7, "bold 15px sans-serif", "#111", width);
    const mean = map.reduce((sum, share) => sum + share, 0) / map.length;
    const note = say("max {a} · mean {b}", { a: number(largest(map)), b: number(mean) });
    write(context, note, x + width / 2, y + height + LINE * 1.6, "12px sans-serif", "#555", width);
  });
  drawScale(context, canvas.width - 64, GAP, height, model, shared ? tops[0] : null);
  context.textAlign = "left";
  write(
    context,
    `${model.entry.branch}: ${model.entry.prompt ?? ""}`,
    GAP,
    canvas.height - 1.6 * LINE,
    "12px sans-serif",
    "#111",
    canvas.width - 2 * GAP,
  );
  write(
    context,
    `${model.describe()} · ${say("share of attention")}`,
    GAP,
    canvas.height - 0.7 * LINE,
    "12px sans-serif",
    "#555",
    canvas.width - 2 * GAP,
  );
  return canvas;
}

/**
 * @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} height
 * @param {any} model @param {number | null} top
 */
function drawScale(context, x, y, height, model, top) {
  const table = colourTable(model.choices.colours);
  for (let row = 0; row < height; row++) {
    const level = Math.round(255 * (1 - row / (height - 1)));
    context.fillStyle = `rgb(${table.subarray(level * 3, level * 3 + 3).join(",")})`;
    context.fillRect(x, y + row, 14, 1);
  }
  context.textAlign = "left";
  for (const at of [0, 0.5, 1]) {
    write(
      context,
      top === null ? `${100 * at} %` : number(top * at),
      x + 18,
      y + 6 + (1 - at) * (height - 12),
      "11px sans-serif",
      "#111",
      46,
    );
  }
  context.textAlign = "center";
}

/**
 * @param {CanvasRenderingContext2D} context @param {string} text @param {number} x @param {number} y
 * @param {string} font @param {string} ink @param {number} room
 */
function write(context, text, x, y, font, ink, room) {
  context.font = font;
  context.fillStyle = ink;
  context.fillText(
    cut(text, (part) => context.measureText(part).width <= room),
    x,
    y,
  );
}

/**
 * A text, or as much of its beginning as there is room for.
 * @param {string} text @param {(part: string) => boolean} fits
 */
function cut(text, fits) {
  if (fits(text)) return text;
  const letters = [...text]; // whole ones, also those of two units
  let [kept, most] = [1, letters.length];
  while (kept < most - 1) {
    const middle = (kept + most) >> 1;
    if (fits(`${letters.slice(0, middle).join("")}…`)) kept = middle;
    else most = middle;
  }
  return `${letters.slice(0, kept).join("")}…`;
}

/** Give a canvas to the person as a file. @param {HTMLCanvasElement} canvas @param {string} name */
export function download(canvas, name) {
  canvas.toBlob((blob) => {
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}
