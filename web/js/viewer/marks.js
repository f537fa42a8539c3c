// @ts-check
/** What became of the prompt's words: the Prompt Doctor's verdicts, and how steering changed their shares. */
import { loadStyle } from "../editor/nodes.js";
import { element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { number } from "../shared/numbers.js";

loadStyle(new URL("marks.css", import.meta.url));

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Group} Group */
/** @typedef {import("./file.js").Verdict} Verdict */
/**
 * @typedef {object} Effect  What a strength did; shares are pairs, before and after.
 * @property {string} words @property {string} branch @property {number} entry @property {number[]} columns
 * @property {number} strength @property {number | null} outside  log-odds; null without a place
 * @property {[number, number]} steps  the first and the last one, from 0
 * @property {[number, number]} inside @property {[number, number] | null} elsewhere
 */

/** What stands at a word for each verdict, the worst first. @type {Record<string, string>} */
const SIGNS = { dropped: "×", neglected: "○", merged: "≈", leaking: "→", split: "¦", sink: "◣", fine: "✓" };
const KINDS = Object.keys(SIGNS);
/** What each means. @type {Record<string, string>} */
const MEANINGS = {
  dropped: "{word} is dropped: no embedding of this name was found, so the prompt was read without it.",
  neglected:
    "{word} is neglected: other things beat it in too much of where it looks, so it may be missing. It wins {number} " +
    "of its attention; in doubt below {limit}.",
  merged:
    "{word} is merged with {rival}: they look at the same places, so they may have become one thing. Likeness " +
    "{number}; in doubt from {limit}.",
  leaking:
    "{word} is leaking: it lies on {rival} rather than on its own noun, so it may colour both. Likeness to its noun " +
    "minus likeness to {rival}: {number}; in doubt below {limit}.",
  split: "{word} is split between two chunks of the prompt, so its words don't read each other.",
  sink:
    "{word} is a sink: it looks into a corner, so its map doesn't show where the thing is. Elsewhere it reaches " +
    "{number} of that; in doubt below {limit}.",
  fine: "{word} is fine: it has a place of its own. It wins {number} of its attention.",
};

/**
 * What is marked at a word: what is about the last of its tokens, the worst first.
 * @template {{columns: number[]}} Item @param {Model} model @param {Group} group @param {Item[]} items
 */
function at(model, group, items) {
  const own = model.columnsOf(group);
  return items.filter(({ columns }) => own.includes(Math.max(...columns)));
}

/** The verdicts on the picture that is shown. @param {Model} model @returns {Verdict[]} */
function verdicts(model) {
  const found = model.entry.verdicts?.[model.choices.image] ?? [];
  const known = found.filter((verdict) => KINDS.includes(verdict.kind));
  return known.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
}

/** What strengths did to the prompt that is shown. @param {Model} model @returns {Effect[]} */
function effects(model) {
  const { branch, index } = model.entry;
  /** @type {Effect[]} */
  const all = JSON.parse(model.header.about.shares ?? "[]");
  return all.filter((effect) => effect.branch === branch && effect.entry === index);
}

/** A verdict in a sentence or two. @param {Verdict} verdict */
function sentence(verdict) {
  const [value, limit] = [verdict.number, verdict.limit].map((one) => (one === null ? "" : one.toFixed(2)));
  const { word, rival } = verdict;
  const text = say(MEANINGS[verdict.kind], { word, rival, number: value, limit });
  return limit ? `${text} ${say("This is a guess: the limit was found on the demo model.")}` : text;
}

/** @param {[number, number]} shares */
const change = ([before, after]) => `${number(before)}→${number(after)}`;

/** @param {number} odds  In logarithms. */
const signed = (odds) => `${odds < 0 ? "−" : "+"}${Math.abs(odds)}`;

/** What a strength did, in sentences. @param {Effect} effect */
function told({ words, strength, outside, steps, inside, elsewhere }) {
  const names = { words, strength: signed(strength), outside: signed(outside ?? 0), a: steps[0] + 1, b: steps[1] + 1 };
  const what =
    outside === null
      ? say("Steered: {words} by {strength} in steps {a} to {b}.", names)
      : say("Steered: {words} by {strength} inside its place and {outside} outside, in steps {a} to {b}.", names);
  const shares = { inside: change(inside), elsewhere: elsewhere ? change(elsewhere) : "" };
  const then = elsewhere
    ? say("Share of attention, before and after: in the place {inside}, elsewhere {elsewhere}.", shares)
    : say("Share of attention, before and after: {inside}.", shares);
  return `${what} ${then}`;
}

/** What is known of a word, in sentences. @param {Model} model @param {Group} group */
export function knownOf(model, group) {
  return [...at(model, group, verdicts(model)).map(sentence), ...at(model, group, effects(model)).map(told)];
}

/** The marks of a word. @param {Model} model @param {Group} group */
export function marksOf(model, group) {
  const [steered] = at(model, group, effects(model));
  const [worst] = at(model, group, verdicts(model));
  const marks = steered ? [mark("ss-steered", change(steered.inside), told(steered))] : [];
  return worst ? [...marks, verdictMark(worst)] : marks;
}

/** Words that the prompt was read without: they have no map, so they are no chips. @param {Model} model */
export function lostWords(model) {
  return verdicts(model)
    .filter(({ columns }) => !columns.length)
    .map((verdict) =>
      element("span", { class: "ss-lost", title: sentence(verdict) }, [
        element("s", { text: verdict.word }),
        verdictMark(verdict),
      ]),
    );
}

/** @param {Verdict} verdict */
function verdictMark(verdict) {
  const kind = verdict.kind === "fine" ? "ss-fine" : "ss-doubt";
  return mark(`ss-verdict ${kind}`, SIGNS[verdict.kind], say(verdict.kind), verdict.kind);
}

/**
 * The sign is drawn by the style sheet: it is no part of the word's text.
 * @param {string} kind @param {string} sign @param {string} label @param {string} [verdict]
 */
function mark(kind, sign, label, verdict) {
  return element("span", { class: kind, "data-sign": sign, "data-kind": verdict, role: "img", "aria-label": label });
}
