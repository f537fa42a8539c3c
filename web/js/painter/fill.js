// @ts-check
/** The fill tool: one region of a painting, closed by paint of another colour or by the picture's edge. */
import { context } from "./history.js";

const OPAQUE = 128; // from this on, paint counts as painted: the node reads masks so
const ALIKE = 24; // of 255, by which shades of one colour differ

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box  Its right and bottom are outside. */

/**
 * Paint what has one colour around a place, or no paint. Returns how far that reached; null where it has the colour
 * already.
 * @param {HTMLCanvasElement} canvas @param {{x: number, y: number}} at  In pixels of the canvas.
 * @param {string} colour  Such as `#56b4e9`.
 * @returns {Box | null}
 */
export function fillRegion(canvas, at, colour) {
  const { width, height } = canvas;
  const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const image = context(canvas).getImageData(0, 0, width, height);
  const region = regionOf(image, x, y);
  const pixels = new Uint32Array(image.data.buffer);
  const paint = bytesOf(colour);
  const box = { left: width, top: height, right: 0, bottom: 0 };
  let changed = false;
  for (let index = 0; index < region.length; index++) {
    if (!region[index] || pixels[index] === paint) continue;
    pixels[index] = paint;
    changed = true;
    const column = index % width;
    const row = (index - column) / width;
    box.left = Math.min(box.left, column);
    box.right = Math.max(box.right, column + 1);
    box.top = Math.min(box.top, row);
    box.bottom = Math.max(box.bottom, row + 1);
  }
  if (!changed) return null;
  context(canvas).putImageData(image, 0, 0);
  return box;
}

/**
 * 1 for each pixel that can be reached over pixels like the one at a place; row by row, by runs of such pixels.
 * @param {ImageData} image @param {number} x @param {number} y
 */
function regionOf({ data, width, height }, x, y) {
  const region = new Uint8Array(width * height);
  const like = likeness(data, y * width + x);
  const open = [y * width + x];
  while (open.length) {
    const seed = /** @type {number} */ (open.pop());
    if (region[seed]) continue;
    const row = seed - (seed % width);
    let [left, right] = [seed, seed];
    while (left > row && like(left - 1)) left--;
    while (right < row + width - 1 && like(right + 1)) right++;
    region.fill(1, left, right + 1);
    for (const next of [row > 0 ? -width : 0, row < (height - 1) * width ? width : 0]) {
      if (!next) continue;
      for (let index = left; index <= right; index++) {
        if (!region[index + next] && like(index + next) && !(index > left && like(index + next - 1)))
          open.push(index + next);
      }
    }
  }
  return region;
}

/** Whether a pixel is like the one at the start. @param {Uint8ClampedArray} data @param {number} start */
function likeness(data, start) {
  const painted = data[4 * start + 3] >= OPAQUE;
  const [red, green, blue] = data.subarray(4 * start, 4 * start + 3);
  return (/** @type {number} */ index) => {
    const at = 4 * index;
    if (data[at + 3] >= OPAQUE !== painted) return false;
    if (!painted) return true;
    const apart = Math.max(Math.abs(data[at] - red), Math.abs(data[at + 1] - green), Math.abs(data[at + 2] - blue));
    return apart <= ALIKE;
  };
}

/** An opaque pixel's bytes, as a number of this machine. @param {string} colour */
function bytesOf(colour) {
  const parts = [1, 3, 5].map((from) => Number.parseInt(colour.slice(from, from + 2), 16));
  return new Uint32Array(new Uint8Array([...parts, 255]).buffer)[0];
}
