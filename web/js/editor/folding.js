// @ts-check
/**
 * The classic renderer's part in expert inputs: they are folded as in Nodes 2.0, by the host's own `showAdvanced`, that
 * is saved with the workflow and which both renderers read. Names are those of the host's front end 1.49.
 */
import { app } from "../../../../scripts/app.js";
import { say } from "../shared/i18n.js";
import { chain, setting } from "./nodes.js";
import { inVue } from "./pictures.js";
import "./zh.js";

const BUTTON = "scenescope_fold";

app.registerExtension({
  name: "SceneScope.folding",
  nodeCreated(/** @type {any} */ node) {
    if (!String(node.comfyClass).startsWith("SceneScope_")) return;
    const expert = node.widgets?.some((/** @type {any} */ widget) => widget.options?.advanced);
    if (expert) changeHeight(node, () => fold(node));
  },
});

/** @param {any} node */
function fold(node) {
  const { isWidgetVisible: visible, getLayoutWidgets: laidOut } = node;
  node.isWidgetVisible = (/** @type {any} */ widget) => visible.call(node, widget) && !folded(node, widget);
  const button = makeButton(node);
  node.getLayoutWidgets = () => {
    const all = laidOut.call(node);
    const shown = all.filter((/** @type {any} */ widget) => widget !== button && !folded(node, widget));
    if (!all.includes(button)) return shown;
    // Where its socket is while a link is drawn.
    for (const widget of all) if (folded(node, widget)) widget.y = button.y;
    const end = shown.findLastIndex((/** @type {any} */ widget) => widget.serialize !== false);
    return shown.toSpliced(end + 1, 0, button); // above the panels, but last in what is saved
  };
  // A node in which nothing grows was saved with room for what is folded now.
  chain(node, "onConfigure", () => {
    const grows = node.widgets.some((/** @type {any} */ one) => one.computeLayoutSize && node.isWidgetVisible(one));
    if (button.hidden || node.showAdvanced || grows) return;
    node.setSize([node.size[0], Math.min(node.size[1], node.computeSize()[1])]);
  });
}

/** The button that opens and folds. @param {any} node @returns {any} */
function makeButton(node) {
  const toggle = () => changeHeight(node, () => (node.showAdvanced = !node.showAdvanced));
  const button = node.addWidget("button", BUTTON, null, toggle, { serialize: false, canvasOnly: true });
  button.serialize = false;
  Object.defineProperty(button, "label", {
    get: () => (node.showAdvanced ? `▾ ${say("Hide advanced inputs")}` : `▸ ${say("Show advanced inputs")}`),
    set: () => {},
  });
  Object.defineProperty(button, "hidden", { get: () => !folds() || !node.widgets.some(isExpert), set: () => {} });
  return button;
}

/** Whether this renderer folds anything. */
function folds() {
  return !inVue() && !setting("Comfy.Node.AlwaysShowAdvancedWidgets");
}

/** @param {any} widget */
function isExpert(widget) {
  return Boolean(widget.options?.advanced && !widget.options.hidden);
}

/** Whether a widget is out of sight; one that a link leads to never is. @param {any} node @param {any} widget */
function folded(node, widget) {
  if (!isExpert(widget) || node.showAdvanced || !folds()) return false;
  return (node.getSlotFromWidget(widget)?.link ?? null) === null;
}

/** Change which widgets a node shows, and its height by theirs. @param {any} node @param {() => void} work */
export function changeHeight(node, work) {
  const before = node.computeSize()[1];
  work();
  node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - before]);
  node.setDirtyCanvas?.(true, true);
}
