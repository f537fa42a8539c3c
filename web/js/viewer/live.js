// @ts-check
/**
 * Maps that grow while a sampler runs: on Record Attention in their own panel; on Sample and Record over the
 * viewer,
 * which takes the place back when the run's maps are complete.
 */

import { loadStyle } from "../editor/nodes.js";
import { onReconnected, registerPanel } from "../editor/panel.js";
import { onMessage } from "../editor/server.js";
import { valuesOf } from "../shared/cells.js";
import { drawMap } from "../shared/colour.js";
import { eachFrame, element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { number } from "../shared/numbers.js";
import "./zh.js";

const EVENT = "scenescope.live";
const SAMPLER = "SceneScope_SampleAndRecord";
const [QUIET, OPEN] = [30, 230];
const CAPTION = 34;
const PIXELS = 128;

/**
 * @typedef {import("../shared/cells.js").Cells & {label: string, area: [number, number, number, number] | null}}
 * LiveMap
 */

loadStyle(new URL("live.css", import.meta.url));

registerPanel({
  name: "live",
  nodes: ["SceneScope_RecordAttention"],
  key: "scenescope_live",
  event: EVENT,
  height: QUIET,
  ended: (told) => (told.status === "sampling" ? { ...told, status: "lost" } : told),
  create(node, root) {
    const maps = new LiveMaps();
    root.append(maps.root);
    return {
      show(told) {
        root.style.minHeight = `${told ? OPEN : QUIET}px`;
        const least = node.computeSize?.() ?? node.size;
        if (told && node.size[1] < least[1]) node.setSize([node.size[0], least[1]]);
        maps.show(told);
      },
      dispose: () => maps.dispose(),
    };
  },
});

/** Over which viewer maps are growing. @type {Map<HTMLElement, LiveMaps>} */
const over = new Map();

onMessage(EVENT, (node, told) => {
  if (node?.comfyClass !== SAMPLER) return;
  /** @type {HTMLElement | undefined} */
  const viewer = node.widgets?.find((/** @type {any} */ widget) => widget.name === "scenescope_viewer")?.element;
  if (!viewer) return;
  if (told.status === "stopped") return uncover(viewer);
  let maps = over.get(viewer);
  if (!maps) {
    maps = new LiveMaps();
    over.set(viewer, maps);
    viewer.append(maps.root);
    viewer.classList.add("ss-covered");
  }
  maps.show(told);
});

// The node's own output follows the last step at once, and an error or a cancelled run ends the wait for it.
for (const event of ["executed", "execution_error", "execution_interrupted"]) {
  onMessage(event, () => {
    for (const [viewer, maps] of over)
      if (maps.told?.status === "done" || event !== "executed" || !viewer.contains(maps.root)) uncover(viewer);
  });
}

onReconnected((going) => {
  const sampled = [...going].flatMap((node) => node.widgets.map((/** @type {any} */ widget) => widget.element));
  for (const viewer of [...over.keys()]) if (!sampled.includes(viewer)) uncover(viewer);
});

/** @param {HTMLElement} viewer */
function uncover(viewer) {
  viewer.classList.remove("ss-covered");
  over.get(viewer)?.dispose();
  over.delete(viewer);
}

class LiveMaps {
  constructor() {
    /** @type {any} */
    this.told = null;
    /**
     * @type {{root: HTMLElement, frame: HTMLElement, canvas: HTMLCanvasElement, name: HTMLElement, note:
     * HTMLElement}[]}
     */
    this.tiles = [];
    this.state = element("p", { class: "ss-state ss-none", role: "status" });
    this.stage = element("div", { class: "ss-live-stage", role: "group", "aria-label": say("Maps so far") });
    this.root = element("div", { class: "ss-live" }, [this.state, this.stage]);
    this.refresh = eachFrame(() => this.draw());
    this.sized = new ResizeObserver(() => this.refresh());
    this.sized.observe(this.stage);
  }

  dispose() {
    this.sized.disconnect();
    this.refresh.cancel();
    this.root.remove();
  }

  /** @param {any} told */
  show(told) {
    this.told = told;
    this.stage.hidden = !told;
    this.state.textContent = told ? stateText(told) : say("While a sampler runs, its words' maps grow here.");
    this.state.title = told?.note ?? "";
    this.refresh();
  }

  draw() {
    /** @type {LiveMap[]} */
    const maps = this.told?.maps ?? [];
    while (this.tiles.length < maps.length) this.add();
    this.tiles.forEach((tile, at) => (tile.root.hidden = at >= maps.length));
    if (!maps.length || !this.root.isConnected) return;
    const [height, width] = this.told.latent;
    const side = this.room(maps.length, height, width);
    const most = Math.max(...maps.map((map) => map.top)); // one scale: a faint word looks faint
    maps.forEach((map, at) => {
      const { root, frame, canvas, name, note } = this.tiles[at];
      root.style.width = frame.style.width = `${Math.floor(side * width)}px`;
      frame.style.height = `${Math.floor(side * height)}px`;
      const [high, wide, top, left] = map.area ?? [height, width, 0, 0];
      Object.assign(canvas.style, {
        left: `${(100 * left) / width}%`,
        top: `${(100 * top) / height}%`,
        width: `${(100 * wide) / width}%`,
        height: `${(100 * high) / height}%`,
      });
      const factor = PIXELS / Math.max(high, wide);
      const [across, down] = [Math.round(wide * factor), Math.round(high * factor)];
      if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
      drawMap(canvas, valuesOf(map), map.grid, { top: most, colours: "inferno", opacity: 1 });
      name.textContent = name.title = map.label;
      note.textContent = say("max {a}", { a: number(map.top) });
      root.setAttribute("aria-label", `${map.label}: ${note.textContent}`);
    });
  }

  /** How large a latent cell can be drawn. @param {number} count @param {number} height @param {number} width */
  room(count, height, width) {
    const [wide, high] = [this.stage.clientWidth, this.stage.clientHeight];
    let best = 24 / Math.max(height, width);
    for (let across = 1; across <= count; across++) {
      const down = Math.ceil(count / across);
      best = Math.max(best, Math.min(((wide - 1) / across - 6) / width, (high / down - CAPTION - 4) / height));
    }
    return best;
  }

  add() {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const frame = element("div", { class: "ss-live-frame" }, [canvas]);
    const [name, note] = [element("b"), element("span")];
    const root = element("figure", { class: "ss-live-tile", role: "img" }, [
      frame,
      element("figcaption", {}, [name, note]),
    ]);
    this.tiles.push({ root, frame, canvas, name, note });
    this.stage.append(root);
  }
}

/** @param {any} told */
function stateText(told) {
  const values = { step: told.step, steps: told.steps };
  if (told.note) return told.note;
  if (told.status === "stopped") return say("Stopped at step {step} of {steps}: means of the steps so far", values);
  if (told.status === "lost")
    return say("The connection was lost at step {step} of {steps}: means of the steps so far", values);
  if (told.status === "done") return say("Means of all {steps} steps", values);
  return say("Step {step} of {steps}: means of the steps so far", values);
}
