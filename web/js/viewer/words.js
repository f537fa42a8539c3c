// @ts-check
/** What a prompt is shown as: phrases and tags, words, or single tokens. No elements. */
import { say } from "../shared/i18n.js";

/** @typedef {import("./file.js").Entry} Entry */
/** @typedef {import("./file.js").Column} Column */
/**
 * @typedef {object} Group  A phrase, a word, or a column without one.
 * @property {string} key  what it is called and which of those of that name: the same in another run of the same words
 * @property {string} label @property {string} kind
 * @property {number[]} members  of the entry's columns
 * @property {number} columns  how many columns of attention it stands for
 * @property {boolean} plain  whether it is a word: no punctuation, no start, end or padding
 * @property {boolean} chip  whether it can be chosen: all but punctuation
 * @property {string} note  what a tooltip says
 */
/** @typedef {"phrases" | "words" | "pieces"} Unit */

const LETTERS = /[\p{L}\p{N}]/u;
/** A prompt of at least so many parts between commas, most of them no longer than that, is a list of tags. */
const [FEWEST_TAGS, TAG_WORDS, LONGEST_TAG] = [3, 3, 5];

/**
 * A prompt's parts, in order.
 * @param {Entry} entry @param {Unit} unit
 * @param {{columns: number[]}[]} asked  What the node was asked for: several words in a row are a phrase.
 * @returns {Group[]}
 */
export function groupsOf(entry, unit, asked) {
  const words = wordsOf(entry, unit === "pieces");
  const parts = unit === "phrases" ? joined(entry, words, asked) : words.map((word) => [word]);
  /** @type {Map<string, number>} */
  const seen = new Map();
  return parts.map((part) => groupOf(entry, part, unit, seen));
}

/** Numbers of the columns of each word, or of each column. @param {Entry} entry @param {boolean} split */
function wordsOf(entry, split) {
  /** @type {Map<string, number[]>} */
  const members = new Map();
  entry.columns.forEach((column, at) => {
    const name = split || column.word === null ? `column ${at}` : `word ${column.word}`;
    members.set(name, [...(members.get(name) ?? []), at]);
  });
  return [...members.values()];
}

/**
 * Words that belong together: those asked for in one go, and the tags of a list.
 * @param {Entry} entry @param {number[][]} words @param {{columns: number[]}[]} asked @returns {number[][][]}
 */
function joined(entry, words, asked) {
  const marks = words.map((word) => partOf(entry, word, asked));
  const tags = tagsOf(entry, words);
  /** @type {number[][][]} */
  const parts = [];
  words.forEach((word, at) => {
    const same =
      at > 0 && (marks[at] >= 0 ? marks[at] === marks[at - 1] : marks[at - 1] < 0 && tags[at] === tags[at - 1]);
    if (same && (marks[at] >= 0 || tags[at] >= 0)) parts[parts.length - 1].push(word);
    else parts.push([word]);
  });
  return parts;
}

/**
 * Which of the things asked for a word belongs to, -1 for none.
 * @param {Entry} entry @param {number[]} word @param {{columns: number[]}[]} asked
 */
function partOf(entry, word, asked) {
  const own = word.flatMap((at) => entry.columns[at].columns);
  return asked.findIndex(({ columns }) => own.every((column) => columns.includes(column)));
}

/**
 * The number of each word's tag, -1 where the prompt is no list of tags.
 * @param {Entry} entry @param {number[][]} words
 */
function tagsOf(entry, words) {
  let tag = 0;
  const numbers = words.map((word) => {
    const [first] = word.map((at) => entry.columns[at]);
    if (!isWord(first.kind)) return -1;
    if (first.kind === "text" && !LETTERS.test(first.text)) {
      tag += /[,;\n]/.test(first.text) ? 1 : 0;
      return -1;
    }
    return tag;
  });
  /** @type {Map<number, number>} */
  const lengths = new Map();
  for (const number of numbers) if (number >= 0) lengths.set(number, (lengths.get(number) ?? 0) + 1);
  const sorted = [...lengths.values()].sort((a, b) => a - b);
  if (sorted.length < FEWEST_TAGS || sorted[sorted.length >> 1] > TAG_WORDS) return numbers.map(() => -1);
  return numbers.map((number) => ((lengths.get(number) ?? 0) <= LONGEST_TAG ? number : -1));
}

/**
 * @param {Entry} entry @param {number[][]} words @param {Unit} unit @param {Map<string, number>} seen
 * @returns {Group}
 */
function groupOf(entry, words, unit, seen) {
  const members = words.flat();
  const first = entry.columns[members[0]];
  const columns = members.flatMap((member) => entry.columns[member].columns);
  const label = words
    .map((word) =>
      labelOf(
        word.map((at) => entry.columns[at]),
        unit === "pieces",
      ),
    )
    .join(" ");
  const plain = isWord(first.kind) && (first.kind === "embedding" || LETTERS.test(label));
  const name = `${first.kind} ${label.toLowerCase()}`;
  const place = seen.get(name) ?? 0;
  seen.set(name, place + 1);
  const weight = first.weight === 1 ? "" : `, ${say("weight {n}", { n: first.weight })}`;
  const [a, b] = [Math.min(...columns), Math.max(...columns)];
  const where = columns.length > 1 ? say("tokens {a} to {b}", { a, b }) : say("token {n}", { n: a });
  return {
    key: `${name}#${place}`,
    label,
    kind: first.kind,
    members,
    columns: columns.length,
    plain,
    chip: plain || !isWord(first.kind) || unit === "pieces",
    note: `${label}: ${where}${weight}`,
  };
}

/** @param {string} kind */
function isWord(kind) {
  return kind === "text" || kind === "embedding";
}

/** @param {Column[]} columns @param {boolean} split */
function labelOf(columns, split) {
  const [first] = columns;
  if (first.kind === "embedding") {
    return split && first.vectors > 1 ? `${first.text} ${first.vector + 1}/${first.vectors}` : first.text;
  }
  if (first.kind === "text") return columns.map((column) => column.text).join("");
  return first.kind === "unknown" ? `#${first.columns[0]}` : `<${first.kind}>`;
}
