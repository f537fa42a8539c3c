// @ts-check
/**
 * The painter of Build Scene and Steer Words. In the classic renderer it paints; in the Vue renderer the host's own
 * painter does, and this adds undo and rows of colours to it. Both write the same value: a picture in the input folder,
 * with transparent ground.
 */
import { chain, keep, loadStyle } from "../editor/nodes.js";
import { registerPanel } from "../editor/panel.js";
import { asOneChange, inVue, ownUndo, showAgain } from "../editor/pictures.js";
import { element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { Chosen, FILLS } from "./chosen.js";
import { fillRegion } from "./fill.js";
import { context, Painting } from "./history.js";
import { HostStrokes, hintInHost, hostCanvas, takeInHost } from "./host.js";
import { PALETTE, Rows, widget } from "./rows.js";
import { files, ownFiles } from "./sending.js";
import { Stage } from "./stage.js";
import { bringBack, showInHost, syncHost, syncStage } from "./sync.js";
import { Tools } from "./tools.js";
import "./zh.js";

const LOW = 140; // pixels of the panel without a place to paint, and with it
const HIGH = 440;
const BARE = 36; // with its button alone

loadStyle(new URL("painter.css", import.meta.url));

registerPanel({
  name: "painter",
  nodes: ["SceneScope_BuildScene", "SceneScope_SteerWords"],
  key: "scenescope_scene",
  event: "scenescope.picture",
  height: LOW,
  create: (node, root) => new Painter(node, root),
});

export class Painter extends Chosen {
  /** @param {any} node @param {HTMLElement} root */
  constructor(node, root) {
    super(node);
    this.root = root;
    /** What the last run found. @type {any} */
    this.scene = null;
    /**
     * Where its picture came from: with another one the masks from sockets are no longer shown.
     * @type {string | null | undefined}
     */
    this.seen = undefined;
    /** The value whose paint is on the stage. */
    this.shown = "";
    this.wanted = "";
    this.gone = false;
    /** The value at the last look. */
    this.known = "";
    this.painting = new Painting({
      read: () => this.value,
      write: (value) => this.write(value),
      ...files,
      changed: () => this.tools && this.tell(),
    });
    this.stage = new Stage(this.painting, {
      erase: () => this.erases,
      fills: () => this.fills,
      size: () => this.size,
      colour: () => this.colour,
      resize: (factor) =>
        this.resize(
          factor < 1 ? Math.min(this.size * factor, this.size - 1) : Math.max(this.size * factor, this.size + 1),
        ),
    });
    this.status = element("p", { class: "ss-status", role: "status", hidden: true });
    this.rows = new Rows(node, (colour) => this.take(colour));
    this.tools = new Tools(
      {
        open: () => this.keep("scenescope_paint", !this.open),
        brush: () => this.choose("brush"),
        eraser: () => this.choose("eraser"),
        fill: () => this.keep(FILLS, !this.fills),
        undo: () => this.walk("undo"),
        redo: () => this.walk("redo"),
        clear: () => this.clear(),
      },
      (size) => this.resize(size),
      (opacity) => this.keep("scenescope_paint_opacity", opacity),
    );
    root.tabIndex = -1;
    this.hint = element("p", { class: "ss-status", hidden: true });
    root.append(
      this.tools.root,
      element("div", { class: "ss-paint-area" }, [this.stage.root, this.status]),
      this.hint,
      this.rows.root,
    );
    if (!this.property("painterBrushColor", "")) keep(node, "painterBrushColor", PALETTE[0]);
    this.listen();
  }

  /** Everything that the painter hears of. */
  listen() {
    const { node, root, painting } = this;
    ownFiles(node, painting);
    ownUndo(
      root,
      () => this.walk("undo"),
      () => this.walk("redo"),
    );
    root.addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && painting.commit());
    root.addEventListener("pointerenter", () => this.look()); // in Vue, the texts may have been typed into since
    for (const event of ["onConfigure", "onDrawForeground"]) chain(node, event, () => void this.sync());
    // When the host has made or kept its part.
    chain(node, "onConfigure", () => window.setTimeout(() => inVue() && syncHost(this), 300));
    chain(node, "onConnectionsChange", (kind, slot, on) => {
      if (kind === 1 && slot === this.slot && on && inVue()) requestAnimationFrame(() => showAgain(node, slot));
      void this.sync();
    });
    const strokes = new HostStrokes(root, painting, {
      size: () => Number(this.property("painterBrushSize", 20)),
      fill: (canvas, at) => {
        if (this.fills) painting.region(() => fillRegion(canvas, at, this.colour));
        return this.fills;
      },
      chosen: () => this.fills && this.keep(FILLS, false),
    });
    // If the host's painter can't load the file, for example while the server is down, it empties the value.
    chain(widget(node, "mask"), "callback", (value) => {
      if (value !== "" || !inVue()) return;
      if (this.known && !strokes.clears) return void bringBack(this, this.known);
      this.gone = false;
      this.tell();
    });
    const room = new ResizeObserver(() => void this.sync());
    room.observe(root); // it changes its place when the renderer does
    this.dispose = () => {
      painting.commit();
      strokes.dispose();
      room.disconnect();
      this.stage.dispose();
    };
  }

  /** @param {any} output */
  show(output) {
    this.scene = output && !output.concepts ? { ...this.scene, picture: output.picture, given: null } : output;
    this.seen = undefined;
    void this.sync();
  }

  /** In pixels of the picture. */
  get size() {
    const longer = Math.max(this.stage.canvas.width, this.stage.canvas.height);
    return Number(this.property("painterBrushSize", Math.max(4, Math.round(longer / 12))));
  }

  /** The largest brush. */
  get largest() {
    return Math.max(100, Math.round(Math.max(this.stage.canvas.width, this.stage.canvas.height) / 3));
  }

  /** The brush's colour: a row's, where it is our brush. */
  get colour() {
    const colours = this.rows.swatches.map((swatch) => swatch.dataset.colour ?? "");
    const kept = this.property("painterBrushColor", "");
    return inVue() || colours.includes(kept) ? kept : (colours[0] ?? PALETTE[0]);
  }

  /** @param {string} name @param {any} value */
  keep(name, value) {
    keep(this.node, name, value);
    this.tell();
  }

  /** @param {"brush" | "eraser"} tool */
  choose(tool) {
    keep(this.node, FILLS, false);
    this.keep("painterTool", tool);
  }

  /** @param {string} value */
  write(value) {
    const host = hostCanvas(this.root);
    this.gone = false;
    if (this.painting.isOn(this.stage.canvas)) this.shown = value;
    else if (host && this.painting.isOn(host)) host.dataset.value = value;
    asOneChange(() => (widget(this.node, "mask").value = value));
  }

  /** @param {number} size */
  resize(size) {
    this.keep("painterBrushSize", Math.round(Math.min(Math.max(size, 1), this.largest)));
    this.stage.drawRing();
  }

  /** @param {"undo" | "redo"} way */
  walk(way) {
    this.stage.stop();
    this.painting.use((inVue() && hostCanvas(this.root)) || this.stage.canvas);
    this.painting[way]();
  }

  clear() {
    this.stage.stop();
    const { canvas } = this.stage;
    this.painting.use(canvas);
    this.painting.whole(() => context(canvas).clearRect(0, 0, canvas.width, canvas.height));
    if (this.gone) this.write("");
    this.painting.commit();
    void this.sync();
  }

  /** @param {string} colour */
  take(colour) {
    keep(this.node, "painterTool", "brush");
    this.keep("painterBrushColor", colour);
    if (inVue()) void takeInHost(this.root, colour);
  }

  look() {
    this.fill();
    if (this.lines) void this.sync(); // the host's painter may have been folded, or unfolded
  }

  fill() {
    if (this.rows.fill(this.scene)) this.tell();
  }

  /** What stands above the rows in Nodes 2.0. @param {boolean} bare  Whether there is no place to paint. */
  told(bare) {
    if (this.gone || !this.lines) return this.gone ? this.loss : "";
    return bare ? say("To paint places, show the advanced inputs.") : this.lacking;
  }

  /** Bring buttons and sliders to the state. */
  tell() {
    const { tools, root } = this;
    this.known = this.value;
    const [vue, open, colour] = [inVue(), this.open, this.colour];
    if (vue && !this.lines) hintInHost(root, this.lacking); // who may paint on nothing is not told so in the way
    root.classList.toggle("ss-vue", vue);
    root.classList.toggle("ss-closed", !vue && !open);
    const bare = this.lines && (vue ? !hostCanvas(root) : !open); // nothing to paint on, so no colours to paint with
    this.rows.root.hidden = bare;
    this.tools.root.hidden = bare && vue;
    this.hint.textContent = vue ? this.told(bare) : "";
    this.hint.hidden = !this.hint.textContent;
    root.style.minHeight = `${bare ? BARE : !vue && open ? HIGH : LOW}px`;
    for (const swatch of this.rows.swatches)
      swatch.setAttribute(
        "aria-pressed",
        String(swatch.dataset.colour === colour && (vue || this.fills || !this.erases)),
      );
    const opacity = Number(this.property("scenescope_paint_opacity", 0.7));
    const { canUndo, canRedo } = this.painting;
    tools.fill({
      open,
      erases: this.erases,
      fills: this.fills,
      canUndo,
      canRedo,
      size: this.size,
      largest: this.largest,
      opacity,
    });
    root.style.setProperty("--paint", String(opacity));
  }

  /** Try again to load a painting, now that the connection is back. */
  again() {
    if (!this.gone) return;
    if (inVue()) return void showInHost(this);
    [this.shown, this.wanted] = ["", ""];
    void this.sync();
  }

  /** Bring picture and paint to what the node and the nodes before it say. */
  sync() {
    return syncStage(this);
  }
}
