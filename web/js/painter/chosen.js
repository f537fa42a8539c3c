// @ts-check
/** What a node says about its painting: values and choices that are kept with it. */
import { inVue, pictureBefore } from "../editor/pictures.js";
import { say } from "../shared/i18n.js";
import { steers, widget } from "./rows.js";

export const FILLS = "scenescope_fill"; // the host's painter knows two tools and would take a third for one of them

export class Chosen {
  /** @param {any} node */
  constructor(node) {
    /** @type {any} */
    this.node = node;
    /** Whether it is about lines of words and may do without a picture, rather than about a scene's things. */
    this.lines = steers(node);
  }

  /** The input that has the picture. @returns {number} */
  get slot() {
    if (!this.lines) return 0;
    return this.node.inputs?.findIndex((/** @type {any} */ input) => input.name === "picture") ?? -1;
  }

  get value() {
    return String(widget(this.node, "mask")?.value ?? "");
  }

  get erases() {
    return this.property("painterTool", "brush") === "eraser";
  }

  get fills() {
    return Boolean(this.property(FILLS, false));
  }

  /** Whether there is a place to paint; without a choice, there is where nothing else gives masks. */
  get open() {
    const linked = this.node.inputs?.some(
      (/** @type {any} */ input) => /^(masks\.|coloured$)/.test(input.name) && (input.link ?? null) !== null,
    );
    return Boolean(this.property("scenescope_paint", this.value !== "" || (!linked && !this.lines)));
  }

  /** What is missing if there is no picture. */
  get lacking() {
    const { connected } = pictureBefore(this.node, this.slot);
    if (this.lines && !connected)
      return say("An empty square, stretched over the picture. Connect `picture` to paint on one.");
    if (this.lines && inVue()) return "";
    return connected ? say("Run once to see the picture.") : say("Connect a picture to paint on it.");
  }

  /** What is said of a painting that can't be loaded. */
  get loss() {
    const name = this.value.replace(/ \[\w+\]$/, "");
    return say("The painting {name} can't be loaded. If its file is gone, clear and paint again.", { name });
  }

  /** @param {string} name @param {any} other */
  property(name, other) {
    return this.node.properties?.[name] ?? other;
  }
}
