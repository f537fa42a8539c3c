// @ts-check
/** What to do if a token's map doesn't match its mask. */
import { valuesOf } from "../shared/cells.js";
import { say } from "../shared/i18n.js";

/** @typedef {import("./pictures.js").Concept} Concept */

const LOW = 0.4; // of the IoU
const LATE = 0.5; // of phase 1: earlier a low IoU says nothing
const FEW = 8; // cells of a mask
const SHARED = 0.2; // of a mask

/** A sentence for one concept, "" if all is well or it is too early to say. @param {any} told @param {number} at */
export function adviceFor(told, at) {
  /** @type {Concept[]} */
  const concepts = told.concepts;
  const iou = told.curves?.iou?.[concepts[at].handle];
  if (iou === null || iou === undefined || iou >= LOW || told.step < LATE * told.phase1_steps) return "";
  const mask = valuesOf(concepts[at].mask);
  const cells = mask.reduce((sum, value) => sum + value, 0);
  if (cells < FEW) {
    const n = Math.max(1, Math.round(cells));
    return say("Its mask covers {n} cells of the map: crop closer, or raise the resolution in Build Scene.", { n });
  }
  for (const [place, { handle, mask: other }] of concepts.entries()) {
    const part = place === at ? 0 : shared(mask, valuesOf(other)) / cells;
    if (part > SHARED) {
      const values = { n: Math.round(100 * part), other: handle };
      return say("Its mask shares {n} % with {other}: in Build Scene, give each place to only one thing.", values);
    }
  }
  return say(
    "Its map misses its mask: in Build Scene, give it a starting word that names it, or use more steps in phase 1.",
  );
}

/** @param {Float32Array} one @param {Float32Array} other */
function shared(one, other) {
  return one.reduce((sum, value, cell) => sum + Math.min(value, other[cell] ?? 0), 0);
}
