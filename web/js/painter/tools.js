// @ts-check
/** The painter's tools, and the things that can be painted: their colours, handles and starting words. */
import { element } from "../shared/dom.js";
import { addChinese, say } from "../shared/i18n.js";

/** As scenescope/training/things.py has it: the colours in which the node knows its things again. */
export const PALETTE = ["#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#0072b2"];

addChinese({
  "Paint {handle}": "绘制 {handle}",
  "Handle of thing {number}": "物体 {number} 的代号",
  "Starting word of {handle}": "{handle} 的起始词",
  "starting word": "起始词",
  Paint: "绘制",
  "Show or hide the painter": "显示或隐藏绘图器",
  Brush: "画笔",
  Eraser: "橡皮",
  Undo: "撤销",
  Redo: "重做",
  Clear: "清除",
  "Undo (Ctrl+Z)": "撤销（Ctrl+Z）",
  "Redo (Ctrl+Shift+Z)": "重做（Ctrl+Shift+Z）",
  "Take all paint off": "清除所有绘制",
  Size: "大小",
  Opacity: "不透明度",
  "Brush size in pixels of the picture": "画笔大小（图像像素）",
  "Opacity of the paint on the screen; masks do not change": "屏幕上颜料的不透明度；遮罩不变",
  "{size} pixels": "{size} 像素",
});

/**
 * @param {Record<"open" | "brush" | "eraser" | "undo" | "redo" | "clear", () => void>} on
 * @param {(size: number) => void} resize @param {(opacity: number) => void} fade
 */
export function makeTools(on, resize, fade) {
  /** @param {"open" | "brush" | "eraser" | "undo" | "redo" | "clear"} name @param {string} text @param {string} title @param {string} [kind] */
  const button = (name, text, title, kind = "ss-classic") =>
    element("button", { type: "button", class: `ss-button ${kind}`, "data-tool": name, text, title, "aria-label": title, on: { click: () => on[name]() } });
  const parts = {
    open: button("open", say("Paint"), say("Show or hide the painter"), "ss-open"),
    brush: button("brush", say("Brush"), say("Brush")),
    eraser: button("eraser", say("Eraser"), say("Eraser")),
    undo: button("undo", say("Undo"), say("Undo (Ctrl+Z)"), ""),
    redo: button("redo", say("Redo"), say("Redo (Ctrl+Shift+Z)"), ""),
    clear: button("clear", say("Clear"), say("Take all paint off")),
  };
  const size = element("input", {
    type: "range", min: 1, max: 200, step: 1, "data-tool": "size", "aria-label": say("Brush size in pixels of the picture"),
    on: { input: () => resize(Number(size.value)) },
  });
  const opacity = element("input", {
    type: "range", min: 0.1, max: 1, step: 0.05, "data-tool": "opacity", title: say("Opacity of the paint on the screen; masks do not change"),
    "aria-label": say("Opacity of the paint on the screen; masks do not change"), on: { input: () => fade(Number(opacity.value)) },
  });
  const sliders = element("div", { class: "ss-row ss-classic" }, [
    element("span", { class: "ss-label", text: say("Size") }), size,
    element("span", { class: "ss-label", text: say("Opacity") }), opacity,
  ]);
  return { root: element("div", { class: "ss-paint-tools" }, [element("div", { class: "ss-row" }, Object.values(parts)), sliders]), size, opacity, ...parts };
}

/** @typedef {{colour: string, handle: string, word: string}} Thing */

/**
 * The things that the last run found or a text names, and one more to paint, three at least.
 * @param {any} node @param {any} scene @returns {Thing[]}
 */
export function thingsOf(node, scene) {
  const ground = text(node, "background").trim();
  const found = (scene?.concepts ?? []).filter((/** @type {any} */ concept) => concept.handle !== ground);
  const [handles, words] = [lines(node, "handles"), lines(node, "words")];
  const named = Math.max(found.length, handles.length, words.length - (ground ? 1 : 0));
  const count = Math.max(named, Math.min(Math.max(named + 1, 3), PALETTE.length));
  return Array.from({ length: count }, (_, at) => ({ colour: found[at]?.colour ?? PALETTE[at] ?? "#888888", handle: handles[at] ?? "", word: words[at] ?? "" }));
}

/** @param {any} node @param {Thing} thing @param {number} index @param {(colour: string) => void} take */
export function makeRow(node, thing, index, take) {
  const { colour } = thing;
  const handle = thing.handle || `<asset${index}>`;
  const label = say("Paint {handle}", { handle });
  const swatch = element("button", {
    type: "button", class: "ss-swatch", "aria-label": label, "aria-pressed": "false", title: label, "data-colour": colour,
    style: `background: ${colour};`, on: { click: () => take(colour) },
  });
  const name = field(say("Handle of thing {number}", { number: index + 1 }), thing.handle, `<asset${index}>`);
  name.addEventListener("change", () => write(node, "handles", index, name.value));
  const word = field(say("Starting word of {handle}", { handle }), thing.word, say("starting word"));
  word.addEventListener("change", () => write(node, "words", index, word.value));
  return element("div", { class: "ss-thing" }, [swatch, name, word]);
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

/** @param {any} node @param {string} name */
function text(node, name) {
  return String(widget(node, name)?.value ?? "");
}

/** @param {any} node @param {string} name @returns {string[]} */
function lines(node, name) {
  return text(node, name).trimEnd() ? text(node, name).trimEnd().split("\n") : [];
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
