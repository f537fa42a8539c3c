// @ts-check
/**
 * Beside the host's painter in Build Scene: each thing's colour, handle and starting word. A click on a colour gives it to
 * the painter's brush; the two fields are the lines of the node's own texts.
 */
import { addChinese, say } from "./i18n.js";
import { element } from "./dom.js";
import { keep, registerPanel } from "./editor.js";

/** As scenescope/training/things.py has it: the colours in which the node knows its things again. */
export const PALETTE = ["#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#0072b2"];

const COLOUR_INPUT = "[data-testid=painter-color-row] input[type=color]";
const CLEAR_BUTTON = "[data-testid=painter-clear-button]";

addChinese({
  "Paint {handle}": "绘制 {handle}",
  "Handle of thing {number}": "物体 {number} 的代号",
  "Starting word of {handle}": "{handle} 的起始词",
  "starting word": "起始词",
});

registerPanel({
  name: "painter",
  nodes: ["SceneScope_BuildScene"],
  key: "scenescope_scene",
  height: 104,
  create,
});

/** @param {any} node @param {HTMLElement} root */
function create(node, root) {
  /** @type {any} */
  let scene = null;
  root.style.cssText += "; overflow-y: auto; display: grid; gap: 4px; align-content: start;";
  const fill = () => {
    if (!root.contains(document.activeElement)) root.replaceChildren(...rows(node, scene));
  };
  root.addEventListener("pointerenter", fill); // the texts may have been typed into since
  return {
    show(/** @type {any} */ output) {
      scene = output;
      fill();
    },
  };
}

/** One row for each thing that the last run found or a text names, and one more to paint, three at least. @param {any} node @param {any} scene */
function rows(node, scene) {
  const ground = text(node, "background").trim();
  const found = (scene?.concepts ?? []).filter((/** @type {any} */ concept) => concept.handle !== ground);
  const named = Math.max(found.length, lines(node, "handles").length, lines(node, "words").length - (ground ? 1 : 0));
  const count = Math.max(named, Math.min(Math.max(named + 1, 3), PALETTE.length));
  return Array.from({ length: count }, (_, index) => row(node, index, found[index]?.colour ?? PALETTE[index] ?? "#888888"));
}

/** @param {any} node @param {number} index @param {string} colour */
function row(node, index, colour) {
  const handle = lines(node, "handles")[index] || `<asset${index}>`;
  const label = say("Paint {handle}", { handle });
  const swatch = element("button", {
    type: "button",
    "aria-label": label,
    title: label,
    style: `background: ${colour}; width: 22px; height: 22px; border-radius: 50%; border: 2px solid transparent; cursor: pointer;`,
    on: { click: () => void take(node, swatch, colour) },
  });
  swatch.dataset.colour = colour;
  const name = field(say("Handle of thing {number}", { number: index + 1 }), lines(node, "handles")[index], `<asset${index}>`);
  name.addEventListener("change", () => write(node, "handles", index, name.value));
  const word = field(say("Starting word of {handle}", { handle }), lines(node, "words")[index], say("starting word"));
  word.addEventListener("change", () => write(node, "words", index, word.value));
  return element("div", { style: "display: grid; grid-template-columns: 22px 1fr 1fr; gap: 6px; align-items: center;" }, [swatch, name, word]);
}

/** @param {string} label @param {string | undefined} value @param {string} placeholder */
function field(label, value, placeholder) {
  const style = "min-width: 0; height: 22px; padding: 0 6px; border: 1px solid var(--border-color, #555); border-radius: 4px; background: var(--comfy-input-bg, #222); color: inherit; font: inherit;";
  const input = element("input", { type: "text", "aria-label": label, placeholder, style });
  input.value = value ?? "";
  return input;
}

/** Give a colour to the painter's brush; where it is not on the screen, the node remembers the colour for it. */
async function take(/** @type {any} */ node, /** @type {HTMLElement} */ swatch, /** @type {string} */ colour) {
  for (const other of swatch.parentElement?.parentElement?.querySelectorAll("button") ?? []) other.style.borderColor = "transparent";
  swatch.style.borderColor = "currentColor";
  keep(node, "painterBrushColor", colour);
  const whole = swatch.closest("[data-node-id]");
  if (!whole?.querySelector(COLOUR_INPUT)) {
    // The eraser hides the colour; the painter's first button is the brush.
    /** @type {HTMLElement | null | undefined} */
    const brush = whole?.querySelector(CLEAR_BUTTON)?.parentElement?.querySelector("button");
    brush?.click();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  const input = /** @type {HTMLInputElement | null | undefined} */ (whole?.querySelector(COLOUR_INPUT));
  if (!input) return;
  input.value = colour;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** @param {any} node @param {string} name */
function widget(node, name) {
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
