// @ts-check
/**
 * `control after generate` of inputs that come and go with a choice. The host's front end 1.49 makes such a choice's
 * inputs again each time, but leaves the control of the old ones on the node.
 */
import { app } from "../../../../scripts/app.js";
import { changeHeight } from "./folding.js";

app.registerExtension({
  name: "SceneScope.controls",
  nodeCreated(/** @type {any} */ node) {
    if (!String(node.comfyClass).startsWith("SceneScope_")) return;
    const add = node.addCustomWidget;
    node.addCustomWidget = function (/** @type {any} */ widget) {
      const added = add.call(this, widget);
      // The host counts the widgets while it adds some, and learns last whose control it is.
      if (isControl(widget)) queueMicrotask(() => dropControls(node));
      return added;
    };
  },
});

/** Its name is the choice's first value, where the node gives one. @param {any} widget */
function isControl(widget) {
  return widget.options?.canvasOnly && widget.options.values?.includes?.("randomize");
}

/** Take controls off a node that are no widget's. @param {any} node */
function dropControls(node) {
  const kept = new Set(node.widgets.flatMap((/** @type {any} */ widget) => widget.linkedWidgets ?? []));
  const stray = node.widgets.filter((/** @type {any} */ widget) => isControl(widget) && !kept.has(widget));
  if (stray.length) changeHeight(node, () => stray.forEach((/** @type {any} */ one) => node.removeWidget(one)));
}
