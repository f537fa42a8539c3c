// @ts-check
/** What the viewer looks at: choices, words, and the shares that follow from them. No elements. */
import { say } from "../shared/i18n.js";
import { largest } from "../shared/numbers.js";

/** @typedef {import("./file.js").ViewData} ViewData */
/** @typedef {import("./file.js").Entry} Entry */
/** @typedef {import("./file.js").Volume} Volume */
/**
 * @typedef {object} Group  A word, or a column without one.
 * @property {string} key @property {string} label @property {string} kind
 * @property {number[]} members  of the entry's columns
 * @property {number} columns  how many columns of attention it stands for
 * @property {boolean} plain  whether it is a word: no punctuation, no start, end or padding
 * @property {string} note  what a tooltip says
 */
/**
 * @typedef {object} Choices
 * @property {number} entry @property {number} image @property {number} step  0 is the mean, n the n-th kept step
 * @property {number} head @property {string} from @property {number} opacity @property {string} colours
 * @property {string} scale @property {boolean} split @property {string[]} pins @property {string} live
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
  split: false,
  pins: [],
  live: "",
  asked: "[]",
};
const CLEAR_CELLS = 400; // words are clearest on grids of about 16x16
const LETTERS = /[\p{L}\p{N}]/u;

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
      const level = /^latent(?:\/(\d+))?$/.exec(output.resolution ?? "");
      const branch = header.entries.findIndex((entry) => entry.branch === output.branch);
      if (branch >= 0) choices.entry = branch;
      const clear = this.entry.blocks.filter((one) => one.recorded[0] * one.recorded[1] <= CLEAR_CELLS);
      const wanted = level
        ? Math.log2(Number(level[1] ?? 1))
        : output.resolution === "all"
          ? -1
          : Math.min(...clear.map((one) => one.level));
      const block = this.entry.blocks.find((one) => one.level === wanted);
      choices.from = block ? `grid:${block.recorded.join("x")}` : "all";
    }
    choices.image = Math.min(choices.image, header.images - 1);
    choices.step = Math.min(choices.step, this.steps.length);
    if (!this.heads.includes(choices.head)) choices.head = -1;
    if (!this.blocks().length) choices.from = "all";
    this.groups = groupsOf(this.entry, choices.split);
    const known = new Set(this.groups.map((group) => group.key));
    choices.pins = choices.pins.filter((pin) => known.has(pin));
    if (!known.has(choices.live)) choices.live = "";
    this.forget();
    if (!choices.live) choices.live = this.lead()?.key ?? "";
  }

  /** Begin with what the node was asked for. */
  pinAsked() {
    const asked = (this.output.words ?? []).flatMap((word) => word.columns);
    const found = this.groups.filter((group) =>
      group.members.some((at) => this.entry.columns[at].columns.some((c) => asked.includes(c))),
    );
    if (!found.length || found.length > 8) return;
    this.choices.live = found[0]?.key ?? "";
    this.choices.pins = found.map((group) => group.key);
  }

  forget() {
    this.made = null;
    this.maps.clear();
  }

  /** Change choices; what depends on them is worked out again. @param {Partial<Choices>} changes */
  choose(changes) {
    Object.assign(this.choices, changes);
    if ("split" in changes || "entry" in changes) this.fit();
    else if (["step", "head", "from", "image"].some((name) => name in changes)) this.forget();
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

/**
 * The words of an entry in order, or its single columns. @param {Entry} entry @param {boolean} split
 * @returns {Group[]}
 */
function groupsOf(entry, split) {
  /** @type {Map<string, number[]>} */
  const members = new Map();
  entry.columns.forEach((column, at) => {
    const key = split || column.word === null ? `c${column.columns[0]}` : `w${column.word}`;
    members.set(key, [...(members.get(key) ?? []), at]);
  });
  return [...members].map(([key, at]) => {
    const first = entry.columns[at[0]];
    const columns = at.flatMap((member) => entry.columns[member].columns);
    const label = labelOf(
      first,
      at.map((member) => entry.columns[member]),
      split,
    );
    const word = first.kind === "text" || first.kind === "embedding";
    const weight = first.weight === 1 ? "" : `, ${say("weight {n}", { n: first.weight })}`;
    const place =
      columns.length > 1
        ? say("columns {a} to {b}", { a: Math.min(...columns), b: Math.max(...columns) })
        : say("column {n}", { n: columns[0] });
    const plain = word && (first.kind === "embedding" || LETTERS.test(label));
    return {
      key,
      label,
      kind: first.kind,
      members: at,
      columns: columns.length,
      plain,
      note: `${label}: ${place}${weight}`,
    };
  });
}

/** @param {import("./file.js").Column} first @param {import("./file.js").Column[]} columns @param {boolean} split */
function labelOf(first, columns, split) {
  if (first.kind === "embedding")
    return split && first.vectors > 1 ? `${first.text} ${first.vector + 1}/${first.vectors}` : first.text;
  if (first.kind === "text") return columns.map((column) => column.text).join("");
  return first.kind === "unknown" ? `#${first.columns[0]}` : `<${first.kind}>`;
}
