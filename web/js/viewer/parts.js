// @ts-check
/** The viewer's parts on the screen: tiles with maps, the colour bar, the ranking, the words. */
import { colourTable, drawMap } from "../shared/colour.js";
import { element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { largest, number } from "../shared/numbers.js";
import { knownOf, lostWords, marksOf } from "./marks.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Group} Group */

const [PIXELS, MOST_PIXELS] = [192, 512];
export const CAPTION = 18;

/** A picture with a map over it, and what the map is called. */
export class Tile {
  constructor() {
    this.width = 0;
    this.picture = element("img", { alt: "", draggable: "false" });
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.mark = element("div", { class: "ss-mark", hidden: true });
    this.word = element("span", { class: "ss-here", hidden: true });
    this.name = element("b");
    this.note = element("span");
    this.frame = element("div", { class: "ss-frame" }, [this.picture, this.canvas, this.mark, this.word]);
    this.root = element("figure", { class: "ss-tile" }, [
      this.frame,
      element("figcaption", {}, [this.name, this.note]),
    ]);
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    this.width = width;
    this.frame.style.width = `${width}px`;
    this.frame.style.height = `${height}px`;
    this.root.style.width = `${width}px`;
    const longer = Math.max(width, height);
    const factor = Math.min(MOST_PIXELS, Math.max(PIXELS, longer)) / longer;
    const [across, down] = [Math.max(8, Math.round(width * factor)), Math.max(8, Math.round(height * factor))];
    if (this.canvas.width !== across || this.canvas.height !== down)
      [this.canvas.width, this.canvas.height] = [across, down];
  }

  /**
   * @param {Model} model @param {Group} group @param {number} top @param {string | null} picture
   * @param {boolean} pinned
   */
  draw(model, group, top, picture, pinned) {
    const map = model.map(group);
    if (picture && this.picture.getAttribute("src") !== picture) this.picture.src = picture;
    this.picture.hidden = !picture;
    drawMap(this.canvas, map, model.volume.grid, {
      top,
      colours: model.choices.colours,
      opacity: picture ? model.choices.opacity : 1,
    });
    let sum = 0;
    for (const share of map) sum += share;
    this.root.dataset.key = group.key;
    this.root.classList.toggle("pinned", pinned);
    this.name.textContent = group.label;
    const numbers = { a: number(largest(map)), b: number(sum / map.length) };
    this.note.textContent = this.width < 200 ? say("max {a}", numbers) : say("max {a} · mean {b}", numbers);
    this.note.title = say("max {a} · mean {b}", numbers);
  }

  /**
   * Outline the cell that is asked about, and write the word that leads there.
   * @param {number} cell @param {[number, number]} grid @param {string} word
   */
  point(cell, grid, word) {
    this.mark.hidden = cell < 0;
    this.word.hidden = cell < 0 || !word;
    if (cell < 0) return;
    const [y, x] = [Math.floor(cell / grid[1]), cell % grid[1]];
    const [left, top] = [(100 * x) / grid[1], (100 * y) / grid[0]];
    const [width, height] = [100 / grid[1], 100 / grid[0]];
    Object.assign(this.mark.style, { left: `${left}%`, top: `${top}%`, width: `${width}%`, height: `${height}%` });
    this.word.textContent = word;
    // Beside the cell, on the side that has room.
    const [right, under] = [left > 50, top > 50];
    Object.assign(this.word.style, {
      left: right ? "auto" : `${left + width}%`,
      right: right ? `${100 - left}%` : "auto",
      top: under ? "auto" : `${top + height}%`,
      bottom: under ? `${100 - top}%` : "auto",
    });
  }
}

/**
 * Draw a colour bar from 0 to the top, and say what its numbers are.
 * @param {HTMLElement} root @param {Model} model @param {number | null} top
 */
export function drawBar(root, model, top) {
  const canvas =
    root.querySelector("canvas") ??
    root.appendChild(element("canvas", { width: 256, height: 1, "aria-hidden": "true" }));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(256, 1);
  const table = colourTable(model.choices.colours);
  for (let level = 0; level < 256; level++)
    image.data.set([...table.subarray(level * 3, level * 3 + 3), 255], level * 4);
  context.putImageData(image, 0, 0);
  for (const old of root.querySelectorAll("span")) old.remove();
  const even =
    top && model.even < top
      ? [{ at: model.even / top, text: say("even {n}", { n: number(model.even) }), kind: "even" }]
      : [];
  const ends = [1, 0.5, 0].map((at) => ({ at, text: top === null ? `${100 * at} %` : number(top * at), kind: "" }));
  const clear = ends.filter((end) => !even.some((one) => Math.abs(one.at - end.at) < 0.25));
  for (const { at, text, kind } of [...clear, ...even]) {
    const side = at < 0.2 ? "start" : at > 0.8 ? "end" : "middle";
    root.append(element("span", { class: `${kind} ${side}`, style: `left: ${100 * at}%`, text }));
  }
  const all = say("Colours: shares of attention from 0 to {n}", { n: number(top ?? 0) });
  root.setAttribute("aria-label", top === null ? say("Colours: 0 to each map's own largest share") : all);
}

/**
 * The words by their share at a place.
 * @param {HTMLElement} root @param {Model} model @param {number} cell @param {number} rows
 */
export function drawRanking(root, model, cell, rows) {
  const words = model.ranked(cell);
  const top = words[0]?.share || 1;
  const list = words.slice(0, rows).map(({ group, share }) => {
    const live = group.key === model.choices.live ? "live" : "";
    return element("li", { "data-key": group.key, "data-share": share.toFixed(5), class: live }, [
      element("span", { class: "ss-word", text: group.label, title: group.note }),
      element("span", { class: "ss-share", text: number(share) }),
      element("i", { style: `width: ${(100 * share) / top}%` }),
    ]);
  });
  const shares = model.shares(cell);
  const silent = model.groups.reduce(
    (sum, group, at) => (group.plain || group.kind === "unknown" ? sum : sum + shares[at] * group.columns),
    0,
  );
  const [y, x] = [Math.floor(cell / model.volume.grid[1]) + 1, (cell % model.volume.grid[1]) + 1];
  root.replaceChildren(
    element("h4", { text: cell < 0 ? say("Whole picture") : say("Row {y}, column {x}", { y, x }) }),
    element("ol", {}, list),
    element("p", { text: say("start, end, padding: {n}", { n: number(silent) }), hidden: silent === 0 }),
  );
}

/** The words as chips. @param {HTMLElement} root @param {Model} model */
export function makeChips(root, model) {
  const chips = model.groups.flatMap((group, at) => {
    if (!group.chip) return [];
    const kind = `ss-chip ss-${group.kind}${group.plain ? "" : " ss-faint"}`;
    const title = [group.note, ...knownOf(model, group)].join("\n");
    const attributes = { type: "button", class: kind, "data-key": group.key, "data-at": at, title };
    const label = element("span", { class: "ss-name", text: group.label || " " });
    return [element("button", { ...attributes, tabindex: -1 }, [label, ...marksOf(model, group)])];
  });
  root.replaceChildren(...chips, ...lostWords(model));
}

/** Show the chips that have a text in them. @param {HTMLElement} root @param {string} text */
export function filterChips(root, text) {
  const wanted = text.trim().toLowerCase();
  for (const chip of /** @type {HTMLElement[]} */ ([...root.children])) {
    chip.hidden = !(chip.textContent ?? "").toLowerCase().includes(wanted);
  }
}

/**
 * Show on the chips what is pinned, what is live, and how large each word's share is. @param {HTMLElement} root
 * @param {Model} model @param {number} cell
 */
export function markChips(root, model, cell) {
  const shares = model.shares(cell);
  const top = Math.max(
    1e-9,
    ...model.groups.map((group, at) => (group.plain || group.kind === "unknown" ? shares[at] : 0)),
  );
  const chips = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(".ss-chip")]);
  const seen = chips.filter((chip) => !chip.hidden);
  const stop = seen.find((chip) => chip.dataset.key === model.choices.live) ?? seen[0]; // Tab leads there
  for (const chip of chips) {
    const key = chip.dataset.key ?? "";
    const pinned = model.choices.pins.includes(key);
    const live = key === model.choices.live;
    chip.classList.toggle("pinned", pinned);
    chip.classList.toggle("live", live);
    chip.setAttribute("aria-pressed", String(pinned));
    chip.tabIndex = chip === stop ? 0 : -1;
    chip.style.setProperty("--share", `${Math.min(100, (100 * shares[Number(chip.dataset.at)]) / top)}%`);
  }
}
