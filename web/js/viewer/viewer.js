// @ts-check
/** The attention viewer: a picture, its prompt's words under it, and where each of them went. */

import { keep, loadStyle, viewAddress } from "../editor/nodes.js";
import { registerPanel } from "../editor/panel.js";
import { onOutput } from "../editor/server.js";
import { eachFrame, element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { Controls } from "./controls.js";
import { download, drawExport } from "./export.js";
import { fetchView } from "./file.js";
import { FullScreen } from "./full.js";
import { listen } from "./input.js";
import { DEFAULTS, Model } from "./model.js";
import { CAPTION, drawBar, drawRanking, filterChips, makeChips, markChips, Tile } from "./parts.js";
import "./zh.js";

const NODES = [
  "SceneScope_TokenHeatmap",
  "SceneScope_AttentionMaps",
  "SceneScope_SampleAndRecord",
  "SceneScope_LoadMaps",
];
const CHOICES = "scenescope_viewer";
const MANY_CHIPS = 24;
/**
 * Pictures by the maps' file: a node without the picture borrows it from another that shows the same run.
 * @type {Map<string, any[]>}
 */
const pictures = new Map();
/** @type {Set<Viewer>} */
const viewers = new Set();

loadStyle(new URL("viewer.css", import.meta.url));

registerPanel({
  name: "viewer",
  nodes: NODES,
  key: "scenescope_view",
  height: 420,
  size: [520, 0],
  create: (node, root) => new Viewer(node, root),
});

onOutput("scenescope_view", notePictures); // Generate from Tokens has pictures and no viewer

/** @param {any} output */
function notePictures(output) {
  if (!output.pictures?.length || JSON.stringify(pictures.get(output.filename)) === JSON.stringify(output.pictures))
    return;
  pictures.set(output.filename, output.pictures);
  viewers.forEach((viewer) => viewer.refresh());
}

export class Viewer {
  /** @param {any} node @param {HTMLElement} root */
  constructor(node, root) {
    this.node = node;
    this.root = root;
    /** @type {Model | null} */
    this.model = null;
    this.cell = -1;
    /** @type {Tile[]} */
    this.tiles = [];
    this.bar = element("div", { class: "ss-bar", role: "img" });
    this.ranking = element("div", { class: "ss-ranking" });
    this.stage = element("div", {
      class: "ss-stage",
      tabindex: 0,
      role: "group",
      "aria-label": say("Picture: arrow keys show the words at a place"),
    });
    this.chips = element("div", {
      class: "ss-chips",
      role: "toolbar",
      "aria-label": say("Words: left and right move, up and down change the step, Enter pins"),
    });
    this.controls = new Controls((changes) => this.choose(changes), {
      save: () => this.export(),
      fill: () => this.full.open(),
    });
    this.status = element("p", { class: "ss-status", role: "status" });
    this.spoken = element("p", { class: "ss-spoken", "aria-live": "polite" });
    this.filter = element("input", {
      type: "search",
      class: "ss-filter",
      placeholder: say("Find a word"),
      "aria-label": say("Find a word"),
      on: {
        input: () => {
          filterChips(this.chips, this.filter.value);
          this.refresh();
        },
      },
    });
    this.body = element("div", { class: "ss-body" }, [
      element("div", { class: "ss-main" }, [
        this.stage,
        element("div", { class: "ss-side" }, [this.bar, this.ranking]),
      ]),
      this.filter,
      this.chips,
      this.controls.root,
    ]);
    this.full = new FullScreen(this.body, root, say("Attention viewer"));
    root.append(this.body, this.status, this.spoken);
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", say("Attention viewer"));
    this.refresh = eachFrame(() => this.draw());
    /** The stage's size; kept, because to ask for it between two drawings makes the browser lay out the whole page. */
    this.room = { width: 0, height: 0 };
    this.observer = new ResizeObserver(([entry]) => {
      this.room = { width: entry.contentRect.width, height: entry.contentRect.height };
      this.refresh();
    });
    this.observer.observe(this.stage);
    listen(this);
    viewers.add(this);
  }

  dispose() {
    viewers.delete(this);
    this.full.close();
    this.observer.disconnect();
    this.refresh.cancel();
  }

  /** @param {any} output */
  async show(output) {
    this.output = output;
    if (!output) return this.tell(say("Run the workflow: the maps appear here."));
    notePictures(output);
    if (!this.model) this.tell(say("Loading the maps …"));
    try {
      const data = await fetchView(output);
      if (this.output !== output) return;
      const kept = this.node.properties?.[CHOICES];
      this.model = new Model(data, { ...DEFAULTS, ...kept, pins: [...(kept?.pins ?? [])] }, output);
      const asked = JSON.stringify((output.words ?? []).map((/** @type {any} */ word) => word.label));
      if (this.model.choices.asked !== asked) this.model.pinAsked();
      this.model.choices.asked = asked;
      this.cell = -1;
      this.tell(this.leftOut());
      this.body.hidden = false;
      this.rebuild();
    } catch (error) {
      if (this.output !== output) return;
      this.model = null;
      const status = error instanceof Error ? error.message : String(error);
      this.tell(say("These maps are no longer on the server ({why}). Run the workflow again.", { why: status }));
    }
  }

  /** @param {string} text */
  tell(text) {
    this.status.textContent = text;
    this.status.hidden = !text;
    this.body.hidden = !this.model;
  }

  /** What the file does not hold. */
  leftOut() {
    const sentences = {
      steps: "To keep the file small, it holds {kept} of {of} steps; means are over all of them.",
      "heads at single steps": "Single heads are means over all steps.",
      cells: "Grids are at most {kept} cells.",
      images: "It holds {kept} of {of} pictures.",
    };
    return (this.model?.header.left_out ?? [])
      .map((part) => say(/** @type {any} */ (sentences)[part.what] ?? part.what, part))
      .join(" ");
  }

  /** Anew from the model: what can be chosen, and the words. */
  rebuild() {
    if (!this.model) return;
    this.controls.fill(this.model);
    makeChips(this.chips, this.model);
    this.filter.hidden = this.chips.childElementCount <= MANY_CHIPS;
    filterChips(this.chips, this.filter.hidden ? "" : this.filter.value);
    this.refresh();
  }

  /** @param {Partial<import("./model.js").Choices>} changes */
  choose(changes) {
    if (!this.model) return;
    this.model.choose(changes);
    keep(this.node, CHOICES, { ...this.model.choices, pins: [...this.model.choices.pins] });
    if (["unit", "entry", "image"].some((name) => name in changes)) this.rebuild();
    else this.controls.fill(this.model);
    this.refresh();
  }

  /** The live word changes as the pointer passes; this is kept in mind but not with the node. @param {string} key */
  look(key) {
    if (!this.model || this.model.choices.live === key) return;
    this.model.choices.live = key;
    this.refresh();
  }

  /** @param {string} key */
  pin(key) {
    const pins = this.model?.choices.pins ?? [];
    this.choose({ pins: pins.includes(key) ? pins.filter((pin) => pin !== key) : [...pins, key], live: key });
  }

  draw() {
    const { model } = this;
    if (!model || !this.root.isConnected) return;
    const start = performance.now();
    const [height, width] = model.volume.grid;
    if (this.cell >= height * width) this.cell = -1; // it was asked about on a finer grid
    const groups = model.shown();
    const tops = model.tops(groups);
    this.layOut(groups.length);
    const picture = this.picture();
    const word = this.cell < 0 ? "" : (model.ranked(this.cell)[0]?.group.label ?? "");
    groups.forEach((group, at) => {
      this.tiles[at].draw(model, group, tops[at], picture, model.choices.pins.includes(group.key));
      this.tiles[at].point(this.cell, model.volume.grid, word);
    });
    drawBar(this.bar, model, model.choices.scale === "own" && groups.length > 1 ? null : (tops[0] ?? 0));
    drawRanking(this.ranking, model, this.cell, Math.max(8, Math.floor((this.room.height - 40) / 20)));
    markChips(this.chips, model, this.cell);
    this.controls.about.textContent = model.describe();
    this.root.dataset.ms = (performance.now() - start).toFixed(2);
  }

  /** As many tiles as maps, as large as the room allows. @param {number} count */
  layOut(count) {
    while (this.tiles.length < count) {
      const tile = new Tile();
      this.tiles.push(tile);
      this.stage.append(tile.root);
    }
    this.tiles.forEach((tile, at) => (tile.root.hidden = at >= count));
    const [height, width] = /** @type {Model} */ (this.model).header.latent;
    const { width: room, height: high } = this.room;
    let best = 0;
    for (let across = 1; across <= count; across++) {
      const down = Math.ceil(count / across);
      best = Math.max(best, Math.min((room - 6 * (across - 1)) / across / width, (high / down - CAPTION - 4) / height));
    }
    best = Math.max(best, 16 / Math.min(width, height));
    for (const tile of this.tiles.slice(0, count)) tile.resize(Math.floor(best * width), Math.floor(best * height));
  }

  /** The picture's address, where there is one. */
  picture() {
    const files = this.output?.pictures?.length ? this.output.pictures : (pictures.get(this.output?.filename) ?? []);
    const file = files[Math.min(this.model?.choices.image ?? 0, files.length - 1)];
    return file ? viewAddress(file) : null;
  }

  export() {
    if (!this.model) return;
    const shown = this.tiles[0]?.picture;
    const names = this.model
      .shown()
      .map((group) => group.label)
      .join("_");
    download(
      drawExport(this.model, shown && !shown.hidden ? shown : null),
      `scenescope_${names.replace(/[^\p{L}\p{N}_-]+/gu, "")}.png`,
    );
  }

  /** Ask about a cell, -1 for the whole picture. @param {number} cell */
  ask(cell) {
    if (cell === this.cell) return;
    this.cell = cell;
    this.refresh();
  }

  /** Say something to those who hear the page. @param {string} text */
  speak(text) {
    this.spoken.textContent = text;
  }
}
