// @ts-check
/** The painter's buttons and sliders. */
import { button, element, slider } from "../shared/dom.js";
import { say } from "../shared/i18n.js";

/** @typedef {"open" | "brush" | "eraser" | "fill" | "undo" | "redo" | "clear"} Tool */
/**
 * @typedef {object} State
 * @property {boolean} open @property {boolean} erases @property {boolean} fills
 * @property {boolean} canUndo @property {boolean} canRedo
 * @property {number} size  of the brush @property {number} largest @property {number} opacity
 */

export class Tools {
  /**
   * @param {Record<Tool, () => void>} on
   * @param {(size: number) => void} resize @param {(opacity: number) => void} fade
   */
  constructor(on, resize, fade) {
    /** @param {Tool} name @param {string} text @param {string} title @param {string} [kind] */
    const tool = (name, text, title, kind = "ss-classic") =>
      button(text, title, () => on[name](), { class: `ss-button ${kind}`, "data-tool": name });
    this.open = tool("open", say("Paint"), say("Show or hide the painter"), "ss-open");
    this.brush = tool("brush", say("Brush"), say("Brush"));
    this.eraser = tool("eraser", say("Eraser"), say("Eraser"));
    this.fillTool = tool("fill", say("Fill"), say("Fill a region enclosed by paint with the chosen colour"), "");
    this.undo = tool("undo", say("Undo"), say("Undo (Ctrl+Z)"), "");
    this.redo = tool("redo", say("Redo"), say("Redo (Ctrl+Shift+Z)"), "");
    this.clear = tool("clear", say("Clear"), say("Remove all paint"));
    this.size = slider(say("Brush size in pixels of the picture"), [1, 200, 1], resize, { "data-tool": "size" });
    this.opacity = slider(say("Opacity of the paint on the screen; masks do not change"), [0.1, 1, 0.05], fade, {
      "data-tool": "opacity",
    });
    const label = (/** @type {string} */ text) => element("span", { class: "ss-label", text });
    this.root = element("div", { class: "ss-paint-tools" }, [
      element("div", { class: "ss-row" }, [
        this.open,
        this.brush,
        this.eraser,
        this.fillTool,
        this.undo,
        this.redo,
        this.clear,
      ]),
      element("div", { class: "ss-row ss-classic" }, [
        label(say("Size")),
        this.size,
        label(say("Opacity")),
        this.opacity,
      ]),
    ]);
  }

  /** @param {State} state */
  fill({ open, erases, fills, canUndo, canRedo, size, largest, opacity }) {
    this.open.setAttribute("aria-expanded", String(open));
    this.brush.setAttribute("aria-pressed", String(!erases && !fills));
    this.eraser.setAttribute("aria-pressed", String(erases && !fills));
    this.fillTool.setAttribute("aria-pressed", String(fills));
    this.undo.disabled = !canUndo;
    this.redo.disabled = !canRedo;
    this.size.max = String(largest);
    this.size.value = String(size);
    this.size.setAttribute("aria-valuetext", say("{size} pixels", { size }));
    this.opacity.value = String(opacity);
  }
}
