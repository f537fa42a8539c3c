// @ts-check
/**
 * Build Scene's painter. In the classic renderer it paints; in the Vue renderer the host's own painter does, and this adds
 * undo and the things' rows to it. Both write the same value: a picture in the input folder, with transparent ground.
 */
import { chain, keep, loadStyle, registerPanel, viewAddress } from "../editor/panel.js";
import { asOneChange, fileAddress, inVue, ownQueueing, ownUndo, pictureBefore, putFile, showAgain, warn } from "../editor/pictures.js";
import { element } from "../shared/dom.js";
import { addChinese, say } from "../shared/i18n.js";
import { hostCanvas, takeInHost, watchHost } from "./host.js";
import { context, makePainting, waiting } from "./history.js";
import { makeStage } from "./stage.js";
import { PALETTE, makeRow, makeTools, thingsOf, widget } from "./tools.js";

const FOLDER = "scenescope";
const LOW = 140; // pixels of the panel without a place to paint, and with it
const HIGH = 440;

addChinese({
  "Connect a picture to paint on it.": "连接图像后即可绘制。",
  "Run once to see the picture.": "运行一次即可看到图像。",
  "The painting {name} is gone. Clear, and paint again.": "绘制文件 {name} 已不存在。请清除后重新绘制。",
  "The painting could not be saved ({why}). It is tried again when you queue.": "绘制未能保存（{why}）。排队时会再试。",
});
loadStyle(new URL("painter.css", import.meta.url));

registerPanel({
  name: "painter",
  nodes: ["SceneScope_BuildScene"],
  key: "scenescope_scene",
  event: "scenescope.picture",
  height: LOW,
  create: (node, root) => new Painter(node, root),
});

class Painter {
  /** @param {any} node @param {HTMLElement} root */
  constructor(node, root) {
    /** @type {any} */
    this.node = node;
    this.root = root;
    /** What the last run found. @type {any} */
    this.scene = null;
    /** Where its picture came from: with another one the masks from sockets are no longer shown. @type {string | null | undefined} */
    this.seen = undefined;
    this.shown = { under: "", value: "" };
    this.wanted = "";
    this.filled = "";
    this.gone = false;
    this.painting = makePainting({
      read: () => this.value,
      write: (value) => this.write(value),
      fresh: () => `${FOLDER}/painter-${node.id}-${Date.now()}-${Math.random().toString(36).slice(2, 6)}.png [input]`,
      send: async (blob, value) => void (await putFile(blob, value.slice(FOLDER.length + 1, value.lastIndexOf(" [")), FOLDER)),
      failed: (error) => warn(say("The painting could not be saved ({why}). It is tried again when you queue.", { why: String(error) })),
      changed: () => this.tools && this.tell(),
    });
    this.stage = makeStage(this.painting, {
      erase: () => this.erases,
      size: () => this.size,
      colour: () => this.colour,
      resize: (factor) => this.resize(factor < 1 ? Math.min(this.size * factor, this.size - 1) : Math.max(this.size * factor, this.size + 1)),
    });
    this.status = element("p", { class: "ss-status", role: "status", hidden: true });
    this.things = element("div", { class: "ss-things" });
    this.tools = makeTools(
      {
        open: () => this.keep("scenescope_paint", !this.open),
        brush: () => this.keep("painterTool", "brush"),
        eraser: () => this.keep("painterTool", "eraser"),
        undo: () => this.walk("undo"),
        redo: () => this.walk("redo"),
        clear: () => this.clear(),
      },
      (size) => this.resize(size),
      (opacity) => this.keep("scenescope_paint_opacity", opacity),
    );
    root.tabIndex = -1;
    root.append(this.tools.root, element("div", { class: "ss-paint-area" }, [this.stage.root, this.status]), this.things);
    if (!this.property("painterBrushColor", "")) keep(node, "painterBrushColor", PALETTE[0]);
    this.listen();
  }

  /** Everything that the painter hears of. */
  listen() {
    const { node, root, painting } = this;
    const mask = widget(node, "mask");
    mask.hidden = true; // in the classic renderer, where it only says that it is of the other one
    ownQueueing(mask, () => painting.commit(), () => painting.settle());
    ownUndo(root, () => this.walk("undo"), () => this.walk("redo"));
    root.addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && painting.commit());
    root.addEventListener("pointerenter", () => this.fill()); // in Vue, the texts may have been typed into since
    for (const event of ["onConfigure", "onDrawForeground"]) chain(node, event, () => this.sync());
    chain(node, "onConfigure", () => window.setTimeout(() => inVue() && this.syncHost(), 300)); // when the host has made or kept its part
    chain(node, "onConnectionsChange", (/** @type {number} */ kind, /** @type {number} */ slot, /** @type {boolean} */ on) => {
      if (kind === 1 && slot === 0 && on && inVue()) requestAnimationFrame(() => showAgain(node, 0));
      this.sync();
    });
    const stop = watchHost(root, painting, () => Number(this.property("painterBrushSize", 20)));
    const room = new ResizeObserver(() => this.sync());
    room.observe(root); // it changes its place when the renderer does
    this.dispose = () => {
      painting.commit();
      stop();
      room.disconnect();
      this.stage.dispose();
    };
  }

  /** @param {any} output */
  show(output) {
    this.scene = output && !output.concepts ? { ...this.scene, picture: output.picture, given: null } : output;
    this.seen = undefined;
    this.sync();
  }

  get value() {
    return String(widget(this.node, "mask")?.value ?? "");
  }

  get erases() {
    return this.property("painterTool", "brush") === "eraser";
  }

  /** In pixels of the picture. */
  get size() {
    const longer = Math.max(this.stage.canvas.width, this.stage.canvas.height);
    return Number(this.property("painterBrushSize", Math.max(4, Math.round(longer / 12))));
  }

  /** The brush's colour: a row's, where it is our brush. */
  get colour() {
    const colours = this.swatches.map((swatch) => swatch.dataset.colour ?? "");
    const kept = this.property("painterBrushColor", "");
    return inVue() || colours.includes(kept) ? kept : (colours[0] ?? PALETTE[0]);
  }

  get swatches() {
    return /** @type {HTMLElement[]} */ ([...this.things.querySelectorAll(".ss-swatch")]);
  }

  /** Whether there is a place to paint; without a choice, there is where nothing else gives masks. */
  get open() {
    const linked = this.node.inputs?.some((/** @type {any} */ input) => /^(masks\.|coloured$)/.test(input.name) && (input.link ?? null) !== null);
    return Boolean(this.property("scenescope_paint", this.value !== "" || !linked));
  }

  /** @param {string} name @param {any} other */
  property(name, other) {
    return this.node.properties?.[name] ?? other;
  }

  /** @param {string} name @param {any} value */
  keep(name, value) {
    keep(this.node, name, value);
    this.tell();
  }

  /** @param {string} value */
  write(value) {
    const host = inVue() && hostCanvas(this.root);
    if (host) host.dataset.value = value;
    else this.shown.value = value;
    asOneChange(() => (widget(this.node, "mask").value = value));
  }

  /** @param {number} size */
  resize(size) {
    this.keep("painterBrushSize", Math.round(Math.min(Math.max(size, 1), Number(this.tools.size.max))));
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

  /** The things' rows anew, unless somebody writes in one. */
  fill() {
    const focus = document.activeElement;
    const things = thingsOf(this.node, this.scene);
    const text = JSON.stringify(things);
    if (text === this.filled || (focus instanceof HTMLInputElement && this.things.contains(focus))) return;
    this.filled = text;
    this.things.replaceChildren(...things.map((thing, index) => makeRow(this.node, thing, index, (colour) => this.take(colour))));
    this.tell();
  }

  /** Bring buttons and sliders to the state. */
  tell() {
    const { tools, root } = this;
    const [vue, open, colour] = [inVue(), this.open, this.colour];
    root.classList.toggle("ss-vue", vue);
    root.classList.toggle("ss-closed", !vue && !open);
    root.style.minHeight = `${!vue && open ? HIGH : LOW}px`;
    for (const swatch of this.swatches) swatch.setAttribute("aria-pressed", String(swatch.dataset.colour === colour && (vue || !this.erases)));
    tools.open.setAttribute("aria-expanded", String(open));
    tools.brush.setAttribute("aria-pressed", String(!this.erases));
    tools.eraser.setAttribute("aria-pressed", String(this.erases));
    tools.undo.disabled = !this.painting.canUndo();
    tools.redo.disabled = !this.painting.canRedo();
    tools.size.max = String(Math.max(100, Math.round(Math.max(this.stage.canvas.width, this.stage.canvas.height) / 3)));
    tools.size.value = String(this.size);
    tools.size.setAttribute("aria-valuetext", say("{size} pixels", { size: this.size }));
    tools.opacity.value = String(this.property("scenescope_paint_opacity", 0.7));
    root.style.setProperty("--paint", tools.opacity.value);
  }

  /** Bring picture and paint to what the node and the nodes before it say. */
  async sync() {
    this.fill();
    this.tell();
    if (inVue()) return;
    const { connected, address } = pictureBefore(this.node, 0);
    const last = this.scene?.picture ? viewAddress(this.scene.picture) : null;
    const value = this.value;
    if (this.seen === undefined && connected) this.seen = address;
    const given = this.scene?.given && address === this.seen ? viewAddress(this.scene.given) : null;
    const wanted = JSON.stringify([connected, address, last, given, value]);
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    const under = connected ? await this.firstThatLoads([given, address, last]) : null;
    const paint = value && value !== this.shown.value ? await loaded(waiting(value) ?? fileAddress(value)) : null;
    if (wanted !== this.wanted) return;
    if (value !== this.value) return void this.sync(); // painting was given a new name meanwhile
    this.putUnder(under);
    this.gone = Boolean(value) && value !== this.shown.value && !paint;
    if (value !== this.shown.value) this.putPaint(paint);
    this.shown.value = value;
    const name = value.replace(/ \[\w+\]$/, "");
    const lacking = connected ? say("Run once to see the picture.") : say("Connect a picture to paint on it.");
    this.status.textContent = this.gone ? say("The painting {name} is gone. Clear, and paint again.", { name }) : under ? "" : lacking;
    this.status.hidden = !this.status.textContent;
    this.stage.fit();
    this.tell();
  }

  /**
   * The host keeps its part of a node that its undo made anew: the old panel is in it, and on its canvas what was undone.
   */
  async syncHost() {
    const { node, root, value } = this;
    if (!root.isConnected && node.graph) document.querySelector(`[data-node-id="${node.id}"] [data-scenescope=painter]`)?.replaceWith(root);
    const canvas = hostCanvas(root);
    const known = canvas?.dataset.value;
    if (canvas) canvas.dataset.value = value;
    if (!canvas || known === undefined || known === value) return;
    const paint = value ? await loaded(waiting(value) ?? fileAddress(value)) : null;
    context(canvas).clearRect(0, 0, canvas.width, canvas.height);
    if (paint) context(canvas).drawImage(paint, 0, 0, canvas.width, canvas.height);
    this.painting.use(canvas);
    this.painting.forget();
  }

  /** @param {(string | null)[]} addresses @returns {Promise<HTMLImageElement | null>} */
  async firstThatLoads(addresses) {
    for (const address of addresses) {
      const picture = address && (await loaded(address));
      if (picture) return picture;
    }
    return null;
  }

  /** @param {HTMLImageElement | null} picture */
  putUnder(picture) {
    this.stage.image.hidden = !picture;
    if (!picture) return;
    this.stage.image.src = picture.src;
    this.stage.resize(picture.naturalWidth, picture.naturalHeight);
  }

  /** @param {HTMLImageElement | null} paint */
  putPaint(paint) {
    const { stage } = this;
    if (stage.image.hidden && paint) stage.resize(paint.naturalWidth, paint.naturalHeight);
    const { width, height } = stage.canvas;
    const into = context(stage.canvas);
    into.clearRect(0, 0, width, height);
    into.imageSmoothingEnabled = false; // colours stay as they are
    if (paint) into.drawImage(paint, 0, 0, width, height);
    this.painting.forget();
  }
}

/** @param {string | Promise<Blob>} source @returns {Promise<HTMLImageElement | null>} */
async function loaded(source) {
  const image = new Image();
  const address = typeof source === "string" ? source : URL.createObjectURL(await source);
  image.src = address;
  try {
    await image.decode();
    return image;
  } catch {
    return null; // the caller says what is missing
  } finally {
    if (typeof source !== "string") URL.revokeObjectURL(address);
  }
}
