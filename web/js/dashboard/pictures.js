// @ts-check
/** The dashboard's pictures: each concept's mask beside its map, and the samples. */
import { viewAddress } from "../editor/nodes.js";
import { valuesOf } from "../shared/cells.js";
import { drawMap } from "../shared/colour.js";
import { element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { adviceFor } from "./advice.js";

/** @typedef {import("../editor/nodes.js").File} File */
/** @typedef {import("../shared/cells.js").Cells} Cells */
/** @typedef {{handle: string, mask: Cells, map: Cells | null}} Concept */

/** Each concept's mask, its last map, and their IoU. @param {any} told @param {string[]} inks */
export function conceptFigures(told, inks) {
  /** @type {Concept[]} */
  const concepts = told.concepts ?? [];
  const { iou = {}, iou_first: first = {} } = told.curves ?? {};
  return concepts.map(({ handle, mask, map }, at) => {
    const seen = iou[handle] !== null && iou[handle] !== undefined;
    const text = seen
      ? say("IoU {a}, first {b}", { a: iou[handle].toFixed(2), b: first[handle].toFixed(2) })
      : say("not seen yet");
    const title = say("Left: its mask. Right: its token's last map");
    return element("figure", { class: "ss-concept", role: "img", "aria-label": `${handle}: ${text}`, title }, [
      picture(mask, "grey"),
      map ? picture(map, "inferno") : element("canvas"),
      element("figcaption", { style: `--ink: ${inks[at % inks.length]}` }, [
        element("b", { text: handle }),
        element("span", { text }),
      ]),
      element("p", { class: "ss-advice", text: adviceFor(told, at) }),
    ]);
  });
}

/** The sample pictures under their steps. @param {File[]} files */
export function sampleSets(files) {
  /** @type {Map<number, HTMLElement[]>} */
  const sets = new Map();
  for (const file of files) {
    const step = Number(/_(\d+)_/.exec(file.filename)?.[1] ?? 0);
    const links = sets.get(step) ?? [];
    sets.set(step, links);
    const label = say("Sample {n} of step {step}, opens in a new tab", { n: links.length + 1, step });
    const src = viewAddress(file);
    const link = { href: src, target: "_blank", rel: "noopener", "aria-label": label, title: label };
    links.push(element("a", link, [element("img", { src, alt: "", loading: "lazy" })]));
  }
  return [...sets].map(([step, links]) =>
    element("figure", { class: "ss-set" }, [
      element("div", {}, links),
      element("figcaption", { text: say("step {n}", { n: step }) }),
    ]),
  );
}

/** @param {import("../shared/cells.js").Cells} map @param {string} colours */
function picture(map, colours) {
  const [height, width] = map.grid;
  const factor = 224 / Math.max(height, width);
  const canvas = element("canvas", { width: Math.round(width * factor), height: Math.round(height * factor) });
  drawMap(canvas, valuesOf(map), map.grid, { top: map.top, colours, opacity: 1 });
  return canvas;
}
