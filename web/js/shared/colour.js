// @ts-check
/** Colour maps and map layers: the core's `colormap` and `overlay`, in the browser. */

export const COLOURS = ["inferno", "viridis", "grey"];

/** The core's colour maps at 256 even steps: red, green and blue in base64. @type {Record<string, string>} */
const TABLES = {
  inferno:
    "AAAEAAAFAAAHAAAIAAAKAQAMAQEOAQEQAgESAgEUAwEXAwIZBAIbBQIdBgMfBwMiCAMkCgQmCwQpDQUrDgUtEAYwEQcyEwc1FAg3Fgk5Fwo8GQs+GgxBHAxDHgxEHw1GIQ1HIw1IJA1KJg1LKA1NKQ1OKw1PLQ5RLg5SMA5UMg5VNA5XNQ5YNw5aOQ5bOg5dPA5ePg1gQA1hQQ1jQw1kRQ1mRw1nSAxpSgxqTAxrTQ1rTw5rUA9rUhBrUxFsVRFsVhJsWBNsWRNsWxRsXBVsXhVsYBZsYRZsYxdsZBdsZhhtaBhtaRltaxltbBltbhptcBptcRttcxttdRttdhxteBxteh1tex5sfR5sfh9sgCBrgSBrgyFqhCJqhiJqhyNpiSRpiyRojCVojiVnjyZnkSZmkidmlCdllihllyhlmSlkmylknCpjnipinytioSthoythpCxgpi1gpy5fqS5eqi9erDBdrTFcrjJbsDNbsTRaszVZtDZYtjdXtzdXuThWuzlVvDpUvjtTvzxSwT1Rwj1QxD5PxT9Ox0BNyEBLykFKy0JJzUNIzkRHz0VG0EZF0kdE00lE1EpD1UtC1k1B105A2E8/2VE/2lI+21M93FU83VY73lc631k54Fo34Vs24lw141405V8y5mAx52Iw6GMu6WQs6mUr62cp7Ggn7Wkl7msl7m0k724j73Aj8HIi8HQi8XYh8Xcg8nkg8nsf830e834d9IAd9IIc9YMb9YUa9ocZ9okY94oX94wW+I4U+I8T+ZER+ZMQ+ZQO+pYM+pgK+5kH+5sI+50M+58P+6ES+6MV+6UX+6cZ+6kb+6sd+60f+68h+rAj+rIl+rQm+rco+rkq+ros+rwt+b4v+cAw+cIy+cQz+MY0+Mc2+Mk3+Ms59806988799E+99JD+NRI+NZN+NdR+NlV+dta+dxe+d5h+eBl+eFp+uNt+uVw+uZ0+uh3+up7+ut+++2B+++E+/CI+/KL+/SO+/WR+/eV/PiY/Pqb/Pye/P2h/P+k",
  viridis:
    "RAFURANVRARWRQZYRQhZRQpaRQtbRg1dRg9eRhBfRhJgRhNiRhRjRxZkRxdlRxhnRxpoRxtpRxxrRx1sRx9tSCBuSCFwSCJxSCNySCR0SCV1SCZ2SCh3SCl4SCp5SCt6Ry16Ry57Ry97RzF8RjJ9RjN9RjR+RjV+RTd/RTiARTmARDuBRDyBRD2CQz6DQz+DQkCEQkGEQUOFQUSGQUWGQEaHP0eHP0iIPkmJPkqJPkyJPU2JPU6KPU+KPFCKPFGKPFKKO1OLO1SLO1WLOlaLOleLOViMOVmMOFuMOFyMOF2MN16MN1+NNmCNNWGNNWKNNGONNGSNM2WOMmaOMmeOMWiOMWmOMGqOMGuOMGyOMG2OL26OL26OL2+OLnCOLnGOLnKOLXOOLXSOLXWOLHaOLHeOK3iOK3mOK3mOKnqOKnuOKXyOKX2OKH6OKH+OJ4COJ4GOJoKOJoOOJoSOJYWOJYaOJYeNJYiNJYmNJImNJIqNJIuNJIyMJI2MI46MI4+MI5GMIpKMIpOLIpSLIpWLIZaLIZeLIZiKIZmKIJmKIJqKIJuKH5yJH52JH56JIJ+IIaCIIqGHI6KHI6OGJKSGJaWFJqWFJqaEJ6eEKKiDKamDKqqCKquCK6yBLKyALa2ALa5/Lq9/L7B+MLF9MLJ9MbN8MrN8M7R7M7V6NLZ6Nbd5OLh4Orl3PLl2P7p1Qbt0Q7xzRbxzR71ySr5xTL9wTsBvUMBtUsFsU8JrVcNqV8NpWcRoW8VnXcZmX8dkYMdjYshiZMlhZspfZ8peactca8xbbM1ab81Ycs5XdM9Wd89VetBUfdBTf9FSgtJRhdJPh9NOitNNjNRMj9VKkdVJlNZHl9dFmddEm9hCnthBoNk/o9o9pdo7p9s5qts3rNw1rt0zsN0ws94utd4suN8su98svd8rwOArw+ArxeAryOEry+EqzeEq0OIq0uIq1eIp2OMp2uMp3eMp3+Qo4uQo5OQo5+Qo6eUn7OUn7uUn8eYn8+Ym9uYm+OYm++cl/ecl",
};

/** 256 colours, red green blue one after the other. @param {string} name @returns {Uint8Array} */
export function colourTable(name) {
  const table = TABLES[name];
  if (table) return Uint8Array.from(atob(table), (byte) => byte.charCodeAt(0));
  return Uint8Array.from({ length: 768 }, (_, at) => Math.floor(at / 3));
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
