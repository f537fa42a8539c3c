// @ts-check
/** How a painting gets to the server: its name, the upload, and the message if it fails. */
import { ownQueueing, putFile, warn } from "../editor/pictures.js";
import { fetchJson } from "../editor/server.js";
import { say } from "../shared/i18n.js";
import { context } from "./history.js";
import { widget } from "./rows.js";

const FOLDER = "scenescope";

/** A name by what is painted, so that equal paintings are one file. @param {HTMLCanvasElement} canvas */
function nameOf(canvas) {
  const { width, height } = canvas;
  const pixels = new Uint32Array(context(canvas).getImageData(0, 0, width, height).data.buffer);
  let [one, other] = [width, height];
  for (const pixel of pixels) {
    one = Math.imul((one << 13) | (one >>> 19), 2654435761) ^ pixel;
    other = Math.imul(((other << 7) | (other >>> 25)) ^ pixel, 1597334677);
  }
  const digits = [one, other].map((part) => (part >>> 0).toString(16).padStart(8, "0"));
  return `${FOLDER}/painter-${digits.join("")}.png [input]`;
}

/** Whether the server no longer has a painting; without an answer, false. @param {string} value */
async function lost(value) {
  const answer = await fetchJson(`/scenescope/painting?${new URLSearchParams({ name: value })}`);
  return answer?.there === false;
}

/** @param {Blob} blob @param {string} value  What the widget calls it. */
async function send(blob, value) {
  await putFile(blob, value.slice(FOLDER.length + 1, value.lastIndexOf(" [")), FOLDER);
}

/** @param {unknown} error */
function failed(error) {
  warn(say("The painting could not be saved ({why}). It will be tried again when you queue.", { why: String(error) }));
}

/** What a painting asks of the server. */
export const files = { name: nameOf, send, lost, failed };

/**
 * Have a node's painting on the server when it is queued.
 * @param {any} node @param {import("./history.js").Painting} painting
 */
export function ownFiles(node, painting) {
  const mask = widget(node, "mask");
  mask.hidden = true; // in the classic renderer, where it only says that it is of the other one
  let settled = Promise.resolve("");
  ownQueueing(
    mask,
    () => painting.commit(),
    () => (settled = painting.settle()),
  );
  const copied = widget(node, "file"); // the same again, after it, in an input where farms look for files to copy
  copied.hidden = true;
  ownQueueing(
    copied,
    () => {},
    () => settled,
  );
}
