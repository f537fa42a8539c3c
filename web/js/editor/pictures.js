// @ts-check
/**
 * The pictures that nodes show, files in the input folder, a widget's part in queueing, and Ctrl+Z. Names are those of
 * the host's front end 1.49.
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { locatorOf, setting, viewAddress } from "./nodes.js";

/** Whether nodes are drawn by the newer of the two renderers. */
export function inVue() {
  return Boolean(setting("Comfy.VueNodes.Enabled"));
}

/** The address of a file that a widget names, as `folder/file.png [input]`. @param {string} value */
export function fileAddress(value) {
  const [, path = "", type = "input"] = /^(.*?)(?: \[(\w+)\])?$/.exec(value.trim()) ?? [];
  const cut = path.lastIndexOf("/");
  return viewAddress({ filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type });
}

/**
 * What the node before an input shows: at once where it loads a file, else what its last run gave.
 * @param {any} node @param {number} slot
 * @returns {{connected: boolean, address: string | null}}
 */
export function pictureBefore(node, slot) {
  const connected = node.inputs?.[slot]?.link !== null && node.inputs?.[slot]?.link !== undefined;
  const source = connected ? before(node, slot) : null;
  const file = source && loaderOf(source);
  if (file)
    return { connected, address: typeof file.value === "string" && file.value ? fileAddress(file.value) : null };
  const shown = source && /** @type {any} */ (app).nodeOutputs?.[locatorOf(source)]?.images?.[0];
  return { connected, address: shown?.filename ? viewAddress({ subfolder: "", type: "output", ...shown }) : null };
}

/**
 * Let the node before an input show its file once more. The host's painter looks for a picture only when some node's
 * output changes, so one that was connected later stayed hidden until a run.
 * @param {any} node @param {number} slot
 */
export function showAgain(node, slot) {
  const source = before(node, slot);
  const file = source && loaderOf(source);
  file?.callback?.(file.value);
}

/**
 * Put a picture into the input folder.
 * @param {Blob} blob @param {string} name @param {string} subfolder
 * @returns {Promise<string>}  What a widget calls it.
 */
export async function putFile(blob, name, subfolder) {
  const body = new FormData();
  body.append("image", blob, name);
  body.append("type", "input");
  body.append("subfolder", subfolder);
  body.append("overwrite", "true"); // it is named by its content: a file of that name is the same, or damaged
  // A small file is sent to its end even where the page closes meanwhile.
  const answer = await api.fetchApi("/upload/image", { method: "POST", body, keepalive: blob.size < 48_000 });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  const put = await answer.json();
  return `${put.subfolder ? `${put.subfolder}/` : ""}${put.name} [${put.type ?? "input"}]`;
}

/**
 * Have the last word on a widget's value when the graph is queued; the host's painter would take it whenever it
 * appears.
 * @param {any} widget @param {() => void} before  At once, before the graph is read.
 * @param {() => Promise<string>} value
 */
export function ownQueueing(widget, before, value) {
  widget.beforeQueued = before;
  Object.defineProperty(widget, "serializeValue", { configurable: true, get: () => value, set: () => {} });
}

/**
 * Undo and redo by keys while something in an element has the focus, and not in the graph. The editor hears of a key
 * first, but looks a frame later which it was.
 * @param {HTMLElement} root @param {() => void} undo @param {() => void} redo
 */
export function ownUndo(root, undo, redo) {
  root.addEventListener("keydown", (event) => {
    const text = event.target instanceof HTMLInputElement && event.target.type === "text"; // has an undo of its own
    const key = event.key.toLowerCase();
    if (text || event.altKey || !(event.ctrlKey || event.metaKey) || !["z", "y"].includes(key)) return;
    event.preventDefault();
    const forth = event.shiftKey || key === "y";
    for (const name of ["ctrlKey", "metaKey"]) Object.defineProperty(event, name, { value: false });
    if (forth) redo();
    else undo();
  });
}

/** Change a node in one step of the editor's own undo. @param {() => void} work */
export function asOneChange(work) {
  const canvas = /** @type {any} */ (app).canvas;
  canvas?.emitBeforeChange();
  try {
    work();
  } finally {
    canvas?.emitAfterChange(); // or the editor would wait for it, and undo nothing any more
  }
}

/** Say something over the editor. @param {string} message */
export function warn(message) {
  /** @type {any} */ (app).extensionManager?.toast?.add({
    severity: "error",
    summary: "SceneScope",
    detail: message,
    life: 8000,
  });
}

/** The node before an input, behind reroutes. @param {any} node @param {number} slot @returns {any} */
function before(node, slot) {
  let source = node.getInputNode?.(slot);
  for (let step = 0; source?.type === "Reroute" && step < 32; step += 1) source = source.getInputNode(0);
  return source ?? null;
}

/** The widget in which a node names the picture that it loads. @param {any} source */
function loaderOf(source) {
  const inputs = source.constructor?.nodeData?.input;
  const [, options] = inputs?.required?.image ?? inputs?.optional?.image ?? [];
  return options?.image_upload && source.widgets?.find((/** @type {any} */ widget) => widget.name === "image");
}
