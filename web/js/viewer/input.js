// @ts-check
/** Mouse and keys in the viewer. */
import { say } from "../shared/i18n.js";
import { largest, number } from "../shared/numbers.js";
import { knownOf } from "./marks.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

/** @param {Viewer} viewer */
export function listen(viewer) {
  const { chips, ranking, stage } = viewer;
  for (const list of [chips, ranking]) {
    list.addEventListener("pointerover", (event) => viewer.look(keyAt(event) ?? ""), { passive: true });
    list.addEventListener("click", (event) => {
      const key = keyAt(event);
      if (key !== undefined) viewer.pin(key);
    });
  }
  chips.addEventListener("pointerleave", () => {
    if (viewer.model?.choices.pins.length) viewer.look(""); // the pinned maps have the room to themselves
  });
  chips.addEventListener("focusin", (event) => viewer.look(keyAt(event) ?? ""));
  chips.addEventListener("keydown", (event) => walk(viewer, event));
  for (const kind of /** @type {const} */ (["pointerdown", "pointermove"]))
    stage.addEventListener(kind, (event) => viewer.ask(cellAt(viewer, event)));
  // A finger leaves with every tap: what it has asked about stays, and the ranking's words can be tapped.
  stage.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && viewer.ask(-1));
  stage.addEventListener("click", (event) => {
    const finger = event instanceof PointerEvent && event.pointerType === "touch";
    if (viewer.cell >= 0 && !finger) pinFirst(viewer);
  });
  stage.addEventListener("keydown", (event) => steer(viewer, event));
}

/** The word that an event is about. @param {Event} event */
function keyAt(event) {
  const word = /** @type {HTMLElement} */ (event.target).closest("[data-key]");
  return word instanceof HTMLElement ? word.dataset.key : undefined;
}

/** Pin the word that is first in the ranking. @param {Viewer} viewer */
function pinFirst(viewer) {
  const key = viewer.ranking.querySelector("li")?.dataset.key;
  if (key) viewer.pin(key);
}

/** @param {Viewer} viewer @param {PointerEvent} event */
function cellAt(viewer, event) {
  const frame = /** @type {HTMLElement} */ (event.target).closest(".ss-frame");
  if (!frame || !viewer.model) return -1;
  const box = frame.getBoundingClientRect();
  const [height, width] = viewer.model.volume.grid;
  const row = Math.floor(((event.clientY - box.top) / box.height) * height);
  const column = Math.floor(((event.clientX - box.left) / box.width) * width);
  return row >= 0 && column >= 0 && row < height && column < width ? row * width + column : -1;
}

/** Keys on the words. @param {Viewer} viewer @param {KeyboardEvent} event */
function walk(viewer, event) {
  const { model } = viewer;
  if (!model) return;
  const list = /** @type {HTMLElement[]} */ ([...viewer.chips.querySelectorAll(".ss-chip:not([hidden])")]);
  const at = list.findIndex((chip) => chip.dataset.key === model.choices.live);
  const last = list.length - 1;
  const to = { ArrowRight: Math.min(last, at + 1), ArrowLeft: Math.max(0, at - 1), Home: 0, End: last }[event.key];
  const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  const group = to === undefined ? undefined : model.group(list[to]?.dataset.key ?? "");
  if (to !== undefined && group) {
    list[to].focus();
    viewer.look(group.key);
    const share = say("{word}: largest share {a}", { word: group.label, a: number(largest(model.map(group))) });
    viewer.speak([share, ...knownOf(model, group)].join(" "));
  } else if (step) {
    viewer.choose({ step: Math.min(model.steps.length, Math.max(0, model.choices.step + step)) });
    viewer.speak(model.describe());
  } else if (event.key === "Escape" && model.choices.pins.length) viewer.choose({ pins: [] });
  else return;
  event.preventDefault();
}

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** Keys on the picture. @param {Viewer} viewer @param {KeyboardEvent} event */
function steer(viewer, event) {
  const { model, cell } = viewer;
  const move = ARROWS[event.key];
  if (!model || (!move && event.key !== "Escape" && event.key !== "Enter")) return;
  event.preventDefault();
  if (event.key === "Enter") return pinFirst(viewer);
  if (!move) return viewer.ask(-1);
  const [height, width] = model.volume.grid;
  const [row, column] =
    cell < 0 ? [height >> 1, width >> 1] : [Math.floor(cell / width) + move[0], (cell % width) + move[1]];
  viewer.ask(Math.min(height - 1, Math.max(0, row)) * width + Math.min(width - 1, Math.max(0, column)));
  const best = model.ranked(viewer.cell).filter(({ group }) => group.plain);
  viewer.speak(
    best
      .slice(0, 3)
      .map(({ group, share }) => `${group.label} ${number(share)}`)
      .join(", "),
  );
}
