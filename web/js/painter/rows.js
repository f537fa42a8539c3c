// @ts-check
/** The things that can be painted: their colours, handles and starting words. */
import { element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";

/** Whether a node paints places for lines of words. @param {any} node */
export function steers(node) {
  return node.comfyClass === "SceneScope_SteerWords" || node.type === "SceneScope_SteerWords";
}

/** As scenescope/training/scene/masks.py has it: the colours by which the node recognises its things. */
export const PALETTE = ["#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#0072b2"];

/** @typedef {{colour: string, handle: string, word: string}} Thing */

/** A row for each thing: its colour to paint with, its handle and its starting word. */
export class Rows {
  #filled = "";

  /** @param {any} node @param {(colour: string) => void} take  Paint with a colour. */
  constructor(node, take) {
    this.node = node;
    this.take = take;
    this.root = element("div", { class: "ss-things" });
  }

  get swatches() {
    return /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll(".ss-swatch")]);
  }

  get #parts() {
    return /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll("button, input")]);
  }

  /** Rebuild the rows, unless somebody is writing in one. @param {any} scene  What the last run found. */
  fill(scene) {
    const focus = document.activeElement;
    const things = steers(this.node) ? linesOf(this.node) : thingsOf(this.node, scene);
    const text = JSON.stringify([things, linked(this.node, "handles"), linked(this.node, "words")]);
    if (text === this.#filled || (focus instanceof HTMLInputElement && this.root.contains(focus))) return false;
    this.#filled = text;
    const at = this.#parts.indexOf(/** @type {HTMLElement} */ (focus));
    this.root.replaceChildren(...things.map((thing, index) => makeRow(this.node, thing, index, this.take)));
    if (at >= 0) this.#parts[at]?.focus({ preventScroll: true }); // the keyboard continues from here
    return true;
  }
}

/**
 * The things that the last run found or a text names, and one more to paint, three at least.
 * @param {any} node @param {any} scene @returns {Thing[]}
 */
function thingsOf(node, scene) {
  const ground = text(node, "background").trim();
  const found = (scene?.concepts ?? []).filter((/** @type {any} */ concept) => concept.handle !== ground);
  const [handles, words] = ["handles", "words"].map((name) =>
    linked(node, name)
      ? found.map((/** @type {any} */ concept) => concept[name === "words" ? "word" : "handle"] ?? "")
      : lines(node, name),
  );
  const named = Math.max(found.length, handles.length, words.length - (ground ? 1 : 0));
  const count = Math.max(named, Math.min(Math.max(named + 1, 3), PALETTE.length));
  return Array.from({ length: count }, (_, at) => ({
    colour: found[at]?.colour ?? PALETTE[at] ?? "#888888",
    handle: handles[at] ?? "",
    word: words[at] ?? "",
  }));
}

/**
 * The lines of words, and one more, three at least; a line has its own colour. Linked words are not known before a run,
 * so there is a row for each colour.
 * @param {any} node @returns {Thing[]}
 */
function linesOf(node) {
  const found = linked(node, "words") ? PALETTE.map(() => "") : lines(node, "words");
  const count = Math.min(Math.max(found.length + 1, 3), PALETTE.length);
  return Array.from({ length: count }, (_, at) => ({ colour: PALETTE[at], handle: "", word: found[at] ?? "" }));
}

/** @param {any} node @param {Thing} thing @param {number} index @param {(colour: string) => void} take */
function makeRow(node, thing, index, take) {
  const { colour } = thing;
  const handle = steers(node)
    ? thing.word || say("line {number}", { number: index + 1 })
    : thing.handle || `<asset${index}>`;
  const label = say("Paint {handle}", { handle });
  const swatch = element("button", {
    type: "button",
    class: "ss-swatch",
    "aria-label": label,
    "aria-pressed": "false",
    title: label,
    "data-colour": colour,
    style: `background: ${colour};`,
    on: { click: () => take(colour) },
  });
  if (steers(node)) {
    const words = field(say("Words of line {number}", { number: index + 1 }), thing.word, say("words of the prompt"));
    words.addEventListener("change", () => write(node, "words", index, words.value));
    lock(words, node, "words");
    words.disabled ||= index > lines(node, "words").length; // it would become the next line, of another colour
    return element("div", { class: "ss-thing" }, [swatch, words]);
  }
  const name = field(say("Handle of thing {number}", { number: index + 1 }), thing.handle, `<asset${index}>`);
  name.addEventListener("change", () => write(node, "handles", index, name.value));
  const word = field(say("Starting word of {handle}", { handle }), thing.word, say("starting word"));
  word.addEventListener("change", () => write(node, "words", index, word.value));
  for (const [input, from] of /** @type {const} */ ([
    [name, "handles"],
    [word, "words"],
  ]))
    lock(input, node, from);
  return element("div", { class: "ss-thing" }, [swatch, name, word]);
}

/**
 * Let nobody type what comes from another node.
 * @param {HTMLInputElement} input @param {any} node @param {string} name
 */
function lock(input, node, name) {
  input.disabled = linked(node, name);
  if (input.disabled) input.title = say("Set by the link to {name}", { name });
}

/** @param {string} label @param {string} value @param {string} placeholder */
function field(label, value, placeholder) {
  const input = element("input", { type: "text", "aria-label": label, placeholder });
  input.value = value;
  return input;
}

/** @param {any} node @param {string} name */
export function widget(node, name) {
  return node.widgets?.find((/** @type {any} */ one) => one.name === name);
}

/** Whether a text comes from another node. @param {any} node @param {string} name @returns {boolean} */
function linked(node, name) {
  return node.inputs?.some((/** @type {any} */ input) => input.name === name && (input.link ?? null) !== null) ?? false;
}

/** @param {any} node @param {string} name */
function text(node, name) {
  return String(widget(node, name)?.value ?? "");
}

/** @param {any} node @param {string} name @returns {string[]} */
function lines(node, name) {
  const found = text(node, name).trimEnd() ? text(node, name).trimEnd().split("\n") : [];
  return steers(node) ? found.filter((line) => line.trim()) : found; // there an empty line is none
}

/** @param {any} node @param {string} name @param {number} index @param {string} value */
function write(node, name, index, value) {
  const found = lines(node, name);
  while (found.length <= index) found.push("");
  found[index] = value.trim();
  const target = widget(node, name);
  if (!target) return;
  target.value = found.join("\n").trimEnd();
  target.callback?.(target.value);
}
