// @ts-check
/**
 * The viewer's file, version 1, as scenescope/attention/files/viewer.py describes it: read in place, nothing is copied.
 * Averages follow the core's `heatmaps`: within a grid every head counts the same, between grids every layer.
 */
import { viewAddress } from "../editor/nodes.js";
import { place } from "./resample.js";

/** @typedef {[number, number]} Grid  height, width */
/**
 * @typedef {{kind: string, text: string, word: number | null, columns: number[], weight: number, vector: number,
 * vectors: number}} Column
 */
/**
 * @typedef {{name: string, place: string, level: number, heads: number, grid: Grid, recorded: Grid, others?: Grid[]}}
 * Block
 */
/**
 * @typedef {{kind: string, word: string, columns: number[], rival: string,
 *   number: number | null, limit: number | null}} Verdict
 */
/**
 * @typedef {object} Entry
 * @property {string} branch @property {number} index @property {[number, number, number, number] | null} area
 * @property {number} keys @property {string | null} prompt @property {Column[]} columns @property {Block[]} blocks
 * @property {[number, number][]} frames  step and head, -1 for the mean
 * @property {Verdict[][]} [verdicts]  for each picture
 */
/**
 * @typedef {{latent: Grid, images: number, steps: number, sigmas: number[], about: Record<string, string>, left_out:
 * any[], entries: Entry[]}} Header
 */
/** @typedef {{grid: Grid, values: Float32Array, means: Float32Array}} Volume  column after column */

const VERSION = 1;
const KEPT = 3;
/** @type {Map<string, Promise<ViewData>>} */
const fetched = new Map();

/** Fetch a file, once for all nodes that show it. @param {{filename: string, subfolder: string, type: string}} file */
export function fetchView(file) {
  const address = viewAddress(file);
  let found = fetched.get(address);
  if (!found) {
    found = fetch(address).then(async (answer) => {
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      return new ViewData(await answer.arrayBuffer());
    });
    fetched.set(address, found);
    found.catch(() => fetched.delete(address));
    for (const old of [...fetched.keys()].slice(0, -KEPT)) fetched.delete(old);
  }
  return found;
}

export class ViewData {
  /** @param {ArrayBuffer} buffer */
  constructor(buffer) {
    const head = new DataView(buffer);
    if (buffer.byteLength < 12 || head.getUint32(0) !== 0x53535646) throw new Error("not a viewer's file");
    if (head.getUint32(4, true) !== VERSION) throw new Error(`version ${head.getUint32(4, true)}`);
    const length = head.getUint32(8, true);
    /** @type {Header} */
    this.header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 12, length)));
    /** @type {{planes: number, bytes: number, starts: number[], cells: number}[]} */
    this.sections = [];
    let planes = 0;
    let bytes = 0;
    for (const entry of this.header.entries) {
      const starts = [];
      let cells = 0;
      for (const block of entry.blocks) {
        starts.push(cells);
        cells += block.grid[0] * block.grid[1];
      }
      this.sections.push({ planes, bytes, starts, cells });
      planes += this.header.images * entry.frames.length * entry.blocks.length * entry.columns.length;
      bytes += this.header.images * entry.frames.length * entry.columns.length * cells;
    }
    this.tops = new Float32Array(buffer, 12 + length, planes);
    this.data = new Uint8Array(buffer, 12 + length + 4 * planes, bytes);
  }

  /**
   * Number of a frame, or that of the nearest one that is there. @param {Entry} entry @param {number} step
   * @param {number} head
   */
  frame(entry, step, head) {
    const at = (/** @type {number} */ s, /** @type {number} */ h) =>
      entry.frames.findIndex((f) => f[0] === s && f[1] === h);
    const exact = at(step, head);
    return exact >= 0 ? exact : Math.max(0, at(-1, head));
  }

  /**
   * The maps of all columns, averaged over blocks.
   * @param {number} which @param {number} image @param {number} frame @param {number[]} blocks
   * @returns {Volume}
   */
  volume(which, image, frame, blocks) {
    const entry = this.header.entries[which];
    const count = entry.columns.length;
    const head = entry.frames[frame][1];
    /** @type {Map<string, {sum: Float32Array, weight: number, layers: number, grid: Grid}>} */
    const levels = new Map();
    let layers = 0;
    for (const index of blocks) {
      const block = entry.blocks[index];
      if (head >= block.heads || Number.isNaN(this.tops[this.plane(which, image, frame, index)])) continue;
      const weight = head < 0 ? block.heads : 1;
      const key = String(block.recorded);
      const cells = block.grid[0] * block.grid[1];
      let level = levels.get(key);
      if (!level) {
        level = { sum: new Float32Array(count * cells), weight: 0, layers: 0, grid: block.grid };
        levels.set(key, level);
      }
      this.add(level.sum, which, image, frame, index, weight);
      level.weight += weight;
      level.layers += 1;
      layers += 1;
    }
    const grid = this.gridOf(
      entry,
      [...levels.values()].map((level) => level.grid),
    );
    const cells = grid[0] * grid[1];
    const values = new Float32Array(count * cells);
    for (const level of levels.values()) {
      place(
        level.sum,
        level.grid,
        values,
        grid,
        count,
        level.layers / layers / level.weight,
        this.header.latent,
        entry.area,
      );
    }
    const means = new Float32Array(count);
    for (let column = 0; column < count; column++) {
      let sum = 0;
      for (let cell = column * cells; cell < (column + 1) * cells; cell++) sum += values[cell];
      means[column] = sum / cells;
    }
    return { grid, values, means };
  }

  /** @param {number} which @param {number} image @param {number} frame @param {number} block */
  plane(which, image, frame, block) {
    const entry = this.header.entries[which];
    return (
      this.sections[which].planes +
      ((image * entry.frames.length + frame) * entry.blocks.length + block) * entry.columns.length
    );
  }

  /**
   * @param {Float32Array} sum @param {number} which @param {number} image @param {number} frame @param {number} block
   * @param {number} weight
   */
  add(sum, which, image, frame, block, weight) {
    const { data, tops } = this;
    const entry = this.header.entries[which];
    const section = this.sections[which];
    const count = entry.columns.length;
    const cells = entry.blocks[block].grid[0] * entry.blocks[block].grid[1];
    const plane = this.plane(which, image, frame, block);
    let byte = section.bytes + ((image * entry.frames.length + frame) * section.cells + section.starts[block]) * count;
    let at = 0;
    for (let column = 0; column < count; column++) {
      const scale = (tops[plane + column] * weight) / 255;
      for (let cell = 0; cell < cells; cell++) sum[at++] += data[byte++] * scale;
    }
  }

  /**
   * The finest grid; an entry with an area is laid out on the whole picture. @param {Entry} entry
   * @param {Grid[]} grids @returns {Grid}
   */
  gridOf(entry, grids) {
    const [height, width] = grids.reduce(
      (best, grid) => (grid[0] * grid[1] > best[0] * best[1] ? grid : best),
      /** @type {Grid} */ ([1, 1]),
    );
    if (!entry.area) return [height, width];
    const { latent } = this.header;
    const limit = (/** @type {number} */ cells, /** @type {number} */ part, /** @type {number} */ whole) =>
      Math.min(64, Math.max(1, Math.round((cells * whole) / part)));
    return [limit(height, entry.area[0], latent[0]), limit(width, entry.area[1], latent[1])];
  }
}
