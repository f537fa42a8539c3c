// @ts-check
/** What the viewer looks at: choices, words, and the shares that follow from them. No elements. */
import { say } from "../shared/i18n.js";
import { largest } from "../shared/numbers.js";
import { groupsOf } from "./words.js";

/** @typedef {import("./file.js").ViewData} ViewData */
/** @typedef {import("./file.js").Entry} Entry */
/** @typedef {import("./file.js").Volume} Volume */
/** @typedef {import("./words.js").Group} Group */
/**
 * @typedef {object} Choices
 * @property {number} entry @property {number} image @property {number} step  0 is the mean, n the n-th kept step
 * @property {number} head @property {string} from @property {number} opacity @property {string} colours
 * @property {string} scale @property {import("./words.js").Unit} unit @property {string[]} pins @property {string} live
 * @property {boolean} more  whether all controls are shown
 * @property {string} asked  the words that the node was last asked for
 */

/** @type {Choices} */
export const DEFAULTS = {
  entry: 0,
  image: 0,
  step: 0,
  head: -1,
  from: "",
  opacity: 0.65,
  colours: "inferno",
  scale: "shown",
  unit: "phrases",
  more: false,
  pins: [],
  live: "",
  asked: "[]",
};
const CLEAR_CELLS = 256; // words are clearest on grids of about 16x16

export class Model {
  /**
   * @param {ViewData} data @param {Choices} choices
   * @param {{words?: {columns: number[]}[], resolution?: string, branch?: string}} output
   */
  constructor(data, choices, output) {
    this.data = data;
    this.choices = choices;
    this.output = output;
    /** @type {Map<string, Float32Array>} */
    this.maps = new Map();
    /** @type {Volume | null} */
    this.made = null;
    /** @type {Group[]} */
    this.groups = [];
    this.exact = true;
    this.fit();
  }

  get header() {
    return this.data.header;
  }
  /** @returns {Entry} */
  get entry() {
    return this.header.entries[this.choices.entry];
  }
  /** Sampler steps that are in the file. */
  get steps() {
    return this.entry.frames.filter(([step, head]) => step >= 0 && head < 0).map(([step]) => step);
  }
  get heads() {
    return this.entry.frames.filter(([step, head]) => step < 0 && head >= 0).map(([, head]) => head);
  }

  /** Bring the choices within what this file has: it may be another run than the one they were made for. */
  fit() {
    const { choices, header, output } = this;
    if (!header.entries[choices.entry]) choices.entry = 0;
    if (!choices.from) {
      const branch = header.entries.findIndex((entry) => entry.branch === output.branch);
      if (branch >= 0) choices.entry = branch;
      const level = /^latent(?:\/(\d+))?$/.exec(output.resolution ?? "");
      const wanted = level ? Math.log2(Number(level[1] ?? 1)) : output.resolution === "all" ? -1 : this.clearest();
      const block = this.entry.blocks.find((one) => one.level === wanted);
      choices.from = block ? `grid:${block.recorded.join("x")}` : "all";
    }
    choices.image = Math.min(choices.image, header.images - 1);
    choices.step = Math.min(choices.step, this.steps.length);
    if (!this.heads.includes(choices.head)) choices.head = -1;
    if (!this.blocks().length) choices.from = "all";
    this.groups = groupsOf(this.entry, choices.unit, output.words ?? []);
    const known = new Set(this.groups.map((group) => group.key));
    choices.pins = choices.pins.filter((pin) => known.has(pin));
    if (!known.has(choices.live)) choices.live = "";
    this.forget();
    if (!choices.live) choices.live = this.lead()?.key ?? "";
  }

  /** The level whose grid is nearest to 16x16 cells: what the nodes' `auto` takes. */
  clearest() {
    const far = (/** @type {import("./file.js").Block} */ { recorded: [height, width] }) =>
      Math.abs(Math.log2((height * width) / CLEAR_CELLS));
    return this.entry.blocks.reduce((best, block) => (far(block) < far(best) ? block : best)).level;
  }

  /** Begin with what the node was asked for. */
  pinAsked() {
    const found = this.groupsAt((this.output.words ?? []).flatMap((word) => word.columns));
    if (!found.length || found.length > 8) return;
    this.choices.live = found[0]?.key ?? "";
    this.choices.pins = found.map((group) => group.key);
  }

  /** The groups that columns of attention belong to. @param {number[]} columns */
  groupsAt(columns) {
    return this.groups.filter((group) => this.columnsOf(group).some((column) => columns.includes(column)));
  }

  /** @param {Group} group @returns {number[]} */
  columnsOf(group) {
    return group.members.flatMap((at) => this.entry.columns[at].columns);
  }

  forget() {
    this.made = null;
    this.maps.clear();
  }

  /** Change choices; what depends on them is worked out again. @param {Partial<Choices>} changes */
  choose(changes) {
    const pinned = this.choices.pins.flatMap((pin) => this.groups.filter(({ key }) => key === pin));
    const columns = pinned.flatMap((group) => this.columnsOf(group));
    Object.assign(this.choices, changes);
    if ("unit" in changes || "entry" in changes) this.fit();
    else if (["step", "head", "from", "image"].some((name) => name in changes)) this.forget();
    if ("unit" in changes) this.choices.pins = this.groupsAt(columns).map((group) => group.key);
  }

  /** Numbers of the blocks that are averaged. */
  blocks() {
    const [kind, name] = this.choices.from.split(":");
    const all = this.entry.blocks.map((_, index) => index);
    if (kind === "all") return all;
    const part = { grid: "recorded", place: "place", block: "name" }[kind] ?? "name";
    return all.filter((index) => {
      const value = /** @type {any} */ (this.entry.blocks[index])[part];
      return (Array.isArray(value) ? value.join("x") : value) === name;
    });
  }

  get volume() {
    if (!this.made) {
      const step = this.choices.step ? this.steps[this.choices.step - 1] : -1;
      const frame = this.data.frame(this.entry, step, this.choices.head);
      this.exact = this.entry.frames[frame][0] === step;
      this.made = this.data.volume(this.choices.entry, this.choices.image, frame, this.blocks());
    }
    return this.made;
  }

  /** A word's map: the mean of its columns. @param {Group} group @returns {Float32Array} */
  map(group) {
    let map = this.maps.get(group.key);
    if (!map) {
      const { values, grid } = this.volume;
      const cells = grid[0] * grid[1];
      map = new Float32Array(cells);
      for (const column of group.members) {
        for (let cell = 0; cell < cells; cell++) map[cell] += values[column * cells + cell] / group.members.length;
      }
      this.maps.set(group.key, map);
    }
    return map;
  }

  /** @param {string} key @returns {Group | undefined} */
  group(key) {
    return this.groups.find((group) => group.key === key);
  }

  /** The share of each word at a cell, or its mean over the picture. @param {number} cell  -1 for the whole picture */
  shares(cell) {
    const { values, means, grid } = this.volume;
    const cells = grid[0] * grid[1];
    return this.groups.map((group) => {
      let sum = 0;
      for (const column of group.members) sum += cell < 0 ? means[column] : values[column * cells + cell];
      return sum / group.members.length;
    });
  }

  /** The words by their share at a cell, the largest first. @param {number} cell  -1 for the whole picture */
  ranked(cell) {
    const shares = this.shares(cell);
    const words = this.groups.map((group, at) => ({ group, share: shares[at] }));
    return words.filter(({ group }) => group.plain || group.kind === "unknown").sort((a, b) => b.share - a.share);
  }

  /** The word that stands out most. */
  lead() {
    const words = this.groups.filter((group) => group.plain);
    const peak = (/** @type {Group} */ group) =>
      largest(this.map(group)) - this.map(group).reduce((sum, share) => sum + share, 0) / this.map(group).length;
    return (
      words.reduce(
        (best, group) => (!best || peak(group) > peak(best) ? group : best),
        /** @type {Group | undefined} */ (undefined),
      ) ?? this.groups[0]
    );
  }

  /**
   * The pinned words, and after them the live one; where there is neither, the one that stands out.
   * @returns {Group[]}
   */
  shown() {
    const groups = [...new Set([...this.choices.pins, this.choices.live])].map((key) => this.group(key));
    const known = groups.filter((group) => group !== undefined);
    return known.length || !this.groups.length ? known : [this.lead()];
  }

  /** What is at the top of each map's colours. @param {Group[]} groups @returns {number[]} */
  tops(groups) {
    const own = groups.map((group) => largest(this.map(group)));
    if (this.choices.scale === "own") return own;
    if (this.choices.scale === "share") return own.map(() => 1);
    if (this.choices.scale === "words") {
      const words = this.groups.filter((group) => group.plain);
      const top = Math.max(...words.map((group) => largest(this.map(group))));
      return own.map(() => (words.length ? top : Math.max(...own)));
    }
    return own.map(() => Math.max(...own));
  }

  /** The even share of a column. */
  get even() {
    return 1 / this.entry.keys;
  }

  /** In words, what is averaged. */
  describe() {
    const { choices } = this;
    const steps = this.steps;
    const sigma = this.header.sigmas[steps[choices.step - 1]];
    const step =
      choices.step && this.exact !== false
        ? say("step {n} of {all}", { n: steps[choices.step - 1] + 1, all: this.header.steps })
        : say("mean of {n} steps", { n: steps.length });
    const noise = choices.step && sigma !== undefined && this.exact !== false ? ` (σ ${sigma.toPrecision(3)})` : "";
    const count = this.blocks().length;
    const from = count === 1 ? this.entry.blocks[this.blocks()[0]].name : say("{n} blocks", { n: count });
    const head = choices.head < 0 ? "" : `, ${say("head {n}", { n: choices.head })}`;
    const others = new Set(
      this.blocks()
        .flatMap((at) => this.entry.blocks[at].others ?? [])
        .map((grid) => grid.join("×")),
    );
    const made = others.size ? ` (${say("some maps were made on {grids}", { grids: [...others].join(", ") })})` : "";
    return `${step}${noise}, ${from}${head}, ${this.volume.grid.join("×")}${made}`;
  }
}
