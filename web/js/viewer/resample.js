// @ts-check
/** Where a map lies in the picture, and what it reads on another grid: the core's `placement`, in the browser. */

/** @typedef {[number, number]} Grid  height, width */
/** @typedef {{index: Int32Array, weight: Float32Array, first: Int32Array}} Axis  for each target cell its sources */

/** @type {Map<string, Axis>} */
const axes = new Map();

/**
 * How the cells of the whole axis read a map that covers a part of it: the mean of what a larger cell covers, or a
 * straight line between the two nearest centres; nothing outside the part.
 * @param {number} source @param {number} target @param {number} start @param {number} length @param {number} whole
 * @returns {Axis}
 */
function axis(source, target, start, length, whole) {
  const key = `${source} ${target} ${start} ${length} ${whole}`;
  const known = axes.get(key);
  if (known) return known;
  /** @type {number[]} */
  const index = [];
  /** @type {number[]} */
  const weight = [];
  const first = [0];
  const reads = (/** @type {number} */ from, /** @type {number} */ part) => {
    index.push(from);
    weight.push(part);
  };
  const cell = whole / target;
  const step = length / source;
  for (let at = 0; at < target; at++) {
    const low = at * cell - start;
    const high = low + cell;
    if (high > 1e-9 && low < length - 1e-9) {
      if (cell >= step - 1e-9) {
        const covered = Math.min(high, length) - Math.max(low, 0);
        for (let from = 0; from < source; from++) {
          const part = Math.min(high, (from + 1) * step) - Math.max(low, from * step);
          if (part > 1e-9) reads(from, part / covered);
        }
      } else {
        const position = Math.min(Math.max((low + high) / 2 / step - 0.5, 0), source - 1);
        const below = Math.min(Math.floor(position), Math.max(0, source - 2));
        reads(below, 1 - (position - below));
        if (position > below) reads(below + 1, position - below);
      }
    }
    first.push(index.length);
  }
  const made = { index: Int32Array.from(index), weight: Float32Array.from(weight), first: Int32Array.from(first) };
  if (axes.size > 200) axes.clear();
  axes.set(key, made);
  return made;
}

/**
 * Add maps, resampled to a grid of the whole picture, to what is there.
 * @param {Float32Array} maps  count maps on `own` @param {Grid} own
 * @param {Float32Array} into  count maps on `grid` @param {Grid} grid
 * @param {number} count @param {number} factor
 * @param {Grid} latent @param {[number, number, number, number] | null} area  height, width, top, left in latent cells
 */
export function place(maps, own, into, grid, count, factor, latent, area) {
  if (!area && own[0] === grid[0] && own[1] === grid[1]) {
    for (let at = 0; at < into.length; at++) into[at] += maps[at] * factor;
    return;
  }
  const [height, width, top, left] = area ?? [latent[0], latent[1], 0, 0];
  const rows = axis(own[0], grid[0], top, height, latent[0]);
  const columns = axis(own[1], grid[1], left, width, latent[1]);
  const line = new Float32Array(own[1]);
  for (let map = 0; map < count; map++) {
    const from = map * own[0] * own[1];
    const to = map * grid[0] * grid[1];
    for (let row = 0; row < grid[0]; row++) {
      line.fill(0);
      for (let part = rows.first[row]; part < rows.first[row + 1]; part++) {
        const start = from + rows.index[part] * own[1];
        const share = rows.weight[part] * factor;
        for (let column = 0; column < own[1]; column++) line[column] += maps[start + column] * share;
      }
      for (let column = 0; column < grid[1]; column++) {
        let sum = 0;
        for (let part = columns.first[column]; part < columns.first[column + 1]; part++)
          sum += line[columns.index[part]] * columns.weight[part];
        into[to + row * grid[1] + column] += sum;
      }
    }
  }
}
