// @ts-check
/**
 * What a node has said is there again after a reload, and after a run that did not run it again. Where the last run
 * did not come to a node, its text says that it is an earlier one's; so does a picture that has no panel.
 */
import { app } from "../../../../scripts/app.js";
import { say } from "../shared/i18n.js";
import { onEnding, onStart } from "./endings.js";
import { allNodes, locatorOf, workflowId } from "./nodes.js";
import { NODE_TEXT, onMessage, onOutput, sayOnNode } from "./server.js";
import "./zh.js";

/** Whose text came from the run that was started last, by execution id. @type {Set<string>} */
const fresh = new Set();
/**
 * What was said of an earlier run, and its own text, by workflow and execution id.
 * @type {Map<string, {text: string, own: string}>}
 */
const marked = new Map();

onOutput("scenescope_text", (text, id, earlier) => sayOnNode(id, earlier && text ? earlierText(text) : text));
onStart(() => fresh.clear());
onMessage("progress_text", (_node, { nodeId }) => fresh.add(String(nodeId)));
onEnding(({ reached, missed }) => {
  for (const { node, id } of ownNodes()) {
    if (missed(node)) mark(node, id);
    else if (reached(node)) unmark(node, id);
  }
});
app.registerExtension({
  name: "SceneScope.texts",
  afterConfigureGraph() {
    for (const { node, id } of ownNodes()) {
      const known = marked.get(keyOf(id));
      if (known && hasPictures(node)) sayOnNode(id, known.text);
    }
  },
});

/** @param {string} text */
function earlierText(text) {
  return `${say("Earlier run")}: ${text}`;
}

function ownNodes() {
  return allNodes().filter(({ node }) => String(node.comfyClass).startsWith("SceneScope_"));
}

/** @param {string} id */
function keyOf(id) {
  return `${workflowId()} ${id}`;
}

/** The text that stands on a node. @param {any} node @returns {string} */
function textOf(node) {
  return node.widgets?.find((/** @type {any} */ widget) => widget.name === NODE_TEXT)?.value ?? "";
}

/** Whether a node shows pictures that no panel tells about. @param {any} node */
function hasPictures(node) {
  const panel = node.widgets?.some((/** @type {any} */ widget) => widget.element?.dataset.scenescope);
  return !panel && Boolean(/** @type {any} */ (app).nodeOutputs?.[locatorOf(node)]?.images?.length);
}

/** @param {any} node @param {string} id */
function mark(node, id) {
  const own = textOf(node);
  if (fresh.has(id) || own.startsWith(earlierText("")) || own === marked.get(keyOf(id))?.text) return;
  if (!own && !hasPictures(node)) return;
  const text = own ? earlierText(own) : say("The last run did not get here: this is from an earlier one.");
  marked.set(keyOf(id), { text, own });
  sayOnNode(id, text);
}

/** @param {any} node @param {string} id */
function unmark(node, id) {
  const known = marked.get(keyOf(id));
  marked.delete(keyOf(id));
  if (known && textOf(node) === known.text) sayOnNode(id, known.own);
}
