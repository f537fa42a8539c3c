// @ts-check
/** What a Build Scene node says about its painting: values and choices that are kept with it. */
import { pictureBefore } from "../editor/pictures.js";
import { say } from "../shared/i18n.js";
import { widget } from "./rows.js";

export const FILLS = "scenescope_fill"; // the host's painter knows two tools and would take a third for one of them

export class Chosen {
  /** @param {any} node */
  constructor(node) {
    /** @type {any} */
    this.node = node;
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
    return Boolean(this.property("scenescope_paint", this.value !== "" || !linked));
  }

  /** What is wanted where there is no picture. */
  get lacking() {
    const connected = pictureBefore(this.node, 0).connected;
    return connected ? say("Run once to see the picture.") : say("Connect a picture to paint on it.");
  }

  /** @param {string} name @param {any} other */
  property(name, other) {
    return this.node.properties?.[name] ?? other;
  }
}
