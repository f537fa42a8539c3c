// @ts-check
/** Colour maps and map layers: the core's `colormap` and `overlay`, in the browser. */

/**
 * Ten colours, evenly spaced, of the public-domain (CC0) maps by S. van der Walt and N. Smith.
 * @type {Record<string, number[]>}
 */
const ANCHORS = {
  inferno: [0x000004, 0x1b0c42, 0x4b0c6b, 0x781c6d, 0xa52c60, 0xcf4446, 0xed6925, 0xfb9a06, 0xf7d03c, 0xfcffa4],
  viridis: [0x440154, 0x482878, 0x3e4a89, 0x31688e, 0x26828e, 0x1f9e89, 0x35b779, 0x6dcd59, 0xb4de2c, 0xfde725],
};
export const COLOURS = ["inferno", "viridis", "grey"];

// Source: B. Ottosson, "A perceptual color space for image processing" (Oklab), 2020: the matrices and their inverses.
const TO_CONES = [
  0.4122214708, 0.5363325363, 0.0514459929, 0.2119034982, 0.6806995451, 0.1073969566, 0.0883024619, 0.2817188376,
  0.6299787005,
];
const TO_LAB = [
  0.2104542553, 0.793617785, -0.0040720468, 1.9779984951, -2.428592205, 0.4505937099, 0.0259040371, 0.7827717662,
  -0.808675766,
];
const FROM_LAB = [1, 0.3963377774, 0.2158037573, 1, -0.1055613458, -0.0638541728, 1, -0.0894841775, -1.291485548];
const FROM_CONES = [
  4.0767416621, -3.3077115913, 0.2309699292, -1.2684380046, 2.6097574011, -0.3413193965, -0.0041960863, -0.7034186147,
  1.707614701,
];

/** @param {number[]} matrix @param {number[]} v */
const times = (matrix, v) =>
  [0, 3, 6].map((row) => matrix[row] * v[0] + matrix[row + 1] * v[1] + matrix[row + 2] * v[2]);

/** @param {number} hexa */
function toLab(hexa) {
  const linear = [16, 8, 0]
    .map((shift) => ((hexa >> shift) & 255) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return times(TO_LAB, times(TO_CONES, linear).map(Math.cbrt));
}

/** @param {number[]} lab */
function fromLab(lab) {
  const linear = times(
    FROM_CONES,
    times(FROM_LAB, lab).map((cone) => cone ** 3),
  ).map((c) => Math.min(1, Math.max(0, c)));
  return linear.map((c) => Math.round(255 * (c <= 0.0031308 ? c * 12.92 : 1.055 * c ** (1 / 2.4) - 0.055)));
}

/** @type {Map<string, Uint8Array>} */
const tables = new Map();

/** 256 colours, red green blue one after the other. @param {string} name @returns {Uint8Array} */
export function colourTable(name) {
  let table = tables.get(name);
  if (!table) {
    table = new Uint8Array(768);
    const anchors = ANCHORS[name]?.map(toLab);
    for (let level = 0; level < 256; level++) {
      const position = (level / 255) * 9;
      const below = Math.min(8, Math.floor(position));
      const mixed = anchors
        ? anchors[below].map((part, i) => part + (anchors[below + 1][i] - part) * (position - below))
        : [];
      table.set(anchors ? fromLab(mixed) : [level, level, level], level * 3);
    }
    tables.set(name, table);
  }
  return table;
}

/**
 * Draw a map smoothly, between the centres of its cells. Over a picture the colour covers it by the opacity, half of
 * that where the map is 0; without one the colours are opaque.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} values  the map's shares @param {[number, number]} grid
 * @param {{top: number, colours: string, opacity: number}} style
 */
export function drawMap(canvas, values, grid, { top, colours, opacity }) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { width, height } = canvas;
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const across = between(grid[1], width);
  const down = between(grid[0], height);
  const shades = shadesOf(colours, opacity);
  const factor = 255 / (top > 0 ? top : 1);
  const row = new Float32Array(grid[1]);
  for (let y = 0; y < height; y++) {
    const above = down.below[y] * grid[1];
    const under = Math.min(grid[0] - 1, down.below[y] + 1) * grid[1];
    const part = down.part[y];
    for (let x = 0; x < grid[1]; x++) row[x] = (values[above + x] * (1 - part) + values[under + x] * part) * factor;
    for (let x = 0; x < width; x++) {
      const left = across.below[x];
      const value = row[left] + (row[Math.min(grid[1] - 1, left + 1)] - row[left]) * across.part[x];
      pixels[y * width + x] = shades[value >= 255 ? 255 : (value + 0.5) | 0];
    }
  }
  context.putImageData(image, 0, 0);
}

/** Colours with their cover, as the bytes of a pixel. @param {string} colours @param {number} opacity */
function shadesOf(colours, opacity) {
  const table = colourTable(colours);
  const bytes = new Uint8Array(1024);
  for (let level = 0; level < 256; level++) {
    bytes.set(table.subarray(level * 3, level * 3 + 3), level * 4);
    bytes[level * 4 + 3] = Math.round(opacity >= 1 ? 255 : 255 * opacity * (0.5 + (0.5 * level) / 255));
  }
  return new Uint32Array(bytes.buffer);
}

/** @type {Map<string, {below: Int32Array, part: Float32Array}>} */
const spans = new Map();

/** Between which cells each pixel lies. @param {number} cells @param {number} pixels */
function between(cells, pixels) {
  const key = `${cells} ${pixels}`;
  let span = spans.get(key);
  if (!span) {
    span = { below: new Int32Array(pixels), part: new Float32Array(pixels) };
    for (let at = 0; at < pixels; at++) {
      const position = Math.min(Math.max(((at + 0.5) * cells) / pixels - 0.5, 0), cells - 1);
      span.below[at] = Math.floor(position);
      span.part[at] = position - span.below[at];
    }
    if (spans.size > 100) spans.clear();
    spans.set(key, span);
  }
  return span;
}
