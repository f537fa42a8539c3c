// @ts-check
/** How a painting gets to the server: its name, its way, and what is said where it does not arrive. */
import { putFile, warn } from "../editor/pictures.js";
import { say } from "../shared/i18n.js";

const FOLDER = "scenescope";

/** A name that no painting has. @param {any} node */
export function freshName(node) {
  return `${FOLDER}/painter-${node.id}-${Date.now()}-${Math.random().toString(36).slice(2, 6)}.png [input]`;
}

/** @param {Blob} blob @param {string} value  What the widget calls it. */
export async function send(blob, value) {
  await putFile(blob, value.slice(FOLDER.length + 1, value.lastIndexOf(" [")), FOLDER);
}

/** @param {unknown} error */
export function failed(error) {
  warn(say("The painting could not be saved ({why}). It is tried again when you queue.", { why: String(error) }));
}
