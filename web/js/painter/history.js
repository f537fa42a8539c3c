// @ts-check
/**
 * What is painted on a canvas: undo and redo by the rectangles that changed, and a file for it as soon as painting
 * pauses.
 * A state of the painting that has a file keeps it, so that going back to it writes nothing.
 */

const PAUSE = 700; // milliseconds without a stroke
const MOST_BYTES = 256 * 2 ** 20; // of all rectangles together
const MOST_STEPS = 200;

/**
 * Pictures that have a name already and are on their way to the server.
 * @type {Map<string, {blob: Promise<Blob>, sent: Promise<void> | null}>}
 */
const onTheWay = new Map();
/** Names whose pictures this page has brought to the server. @type {Set<string>} */
const arrived = new Set();

/** A picture that the server may not have yet. @param {string} value @returns {Promise<Blob> | undefined} */
export function waiting(value) {
  return onTheWay.get(value)?.blob;
}

/**
 * @typedef {object} Keeper
 * @property {() => string} read  The value that stands in the node.
 * @property {(value: string) => void} write
 * @property {(canvas: HTMLCanvasElement) => string} name  A name for the file of what is painted.
 * @property {(blob: Blob, value: string) => Promise<void>} send  Put a file on the server.
 * @property {(value: string) => Promise<boolean>} lost  Whether the server has a file no longer.
 * @property {(error: unknown) => void} failed
 * @property {() => void} changed  Something can be undone, or no longer.
 */
/** @typedef {{x: number, y: number, before: ImageData, after: ImageData}} Step */

/** A painting on one canvas at a time; its states, and the file of each. */
export class Painting {
  /** @type {HTMLCanvasElement | null} */
  #canvas = null;
  /** What there was before the stroke that goes on. */
  base = document.createElement("canvas");
  /** @type {Step[]} */
  #steps = [];
  /** The file of each state, the first before the first step; null where it has none. @type {(string | null)[]} */
  #files = [null];
  #at = 0;
  /** @type {{left: number, top: number, right: number, bottom: number} | null} */
  #reach = null;
  #unsaved = false;
  #timer = 0;

  /** @param {Keeper} keeper */
  constructor(keeper) {
    this.keeper = keeper;
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#steps.length;
  }

  /** Whether there is paint that the node's value does not name yet. */
  get unsaved() {
    return this.#unsaved || this.#reach !== null;
  }

  /** @param {HTMLCanvasElement} canvas */
  isOn(canvas) {
    return canvas === this.#canvas;
  }

  /** Paint on this canvas from now on. @param {HTMLCanvasElement} next */
  use(next) {
    if (next === this.#canvas && this.base.width === next.width && this.base.height === next.height) return;
    this.commit();
    this.#canvas = next;
    this.forget();
  }

  /** Start afresh with what the canvas shows, which is what the node's value names. */
  forget() {
    [this.#steps, this.#files, this.#at] = [[], [this.keeper.read()], 0];
    [this.#reach, this.#unsaved] = [null, false];
    clearTimeout(this.#timer);
    this.keeper.changed();
  }

  /** Before a stroke. Returns a canvas with what there was. */
  begin() {
    if (!this.#canvas) return this.base;
    if (this.#reach) this.end();
    this.base.width = this.#canvas.width;
    this.base.height = this.#canvas.height;
    this.base.getContext("2d")?.drawImage(this.#canvas, 0, 0);
    this.#reach = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
    clearTimeout(this.#timer);
    return this.base;
  }

  /** A stroke may have changed pixels as far as this. @param {number} x @param {number} y @param {number} radius */
  touch(x, y, radius) {
    const reach = this.#reach;
    if (!reach) return;
    reach.left = Math.min(reach.left, x - radius - 1);
    reach.top = Math.min(reach.top, y - radius - 1);
    reach.right = Math.max(reach.right, x + radius + 1);
    reach.bottom = Math.max(reach.bottom, y + radius + 1);
  }

  /** After a stroke. */
  end() {
    const [reach, canvas] = [this.#reach, this.#canvas];
    if (!reach || !canvas) return;
    const x = Math.max(0, Math.floor(reach.left));
    const y = Math.max(0, Math.floor(reach.top));
    const width = Math.min(canvas.width, Math.ceil(reach.right)) - x;
    const height = Math.min(canvas.height, Math.ceil(reach.bottom)) - y;
    this.#reach = null;
    if (width <= 0 || height <= 0) return;
    const [before, after] = [pixels(this.base, x, y, width, height), pixels(canvas, x, y, width, height)];
    if (!same(before, after)) this.#add({ x, y, before, after });
  }

  undo() {
    this.#walk(-1);
  }

  redo() {
    this.#walk(1);
  }

  /** Change all of it at once. @param {() => void} work */
  whole(work) {
    if (!this.#canvas) return;
    const { width, height } = this.#canvas;
    this.begin();
    this.touch(width / 2, height / 2, Math.max(width, height));
    work();
    this.end();
  }

  /**
   * Change a part of it at once.
   * @param {() => import("./fill.js").Box | null} work  Returns what it has changed.
   */
  region(work) {
    if (!this.#canvas) return;
    this.begin();
    const box = work();
    if (box)
      for (const [x, y] of [
        [box.left, box.top],
        [box.right, box.bottom],
      ])
        this.touch(x, y, 0);
    this.end();
  }

  /** Give what is painted a name, write the name into the node, and send it off. */
  commit() {
    clearTimeout(this.#timer);
    if (!this.#unsaved || !this.#canvas) return;
    this.#unsaved = false;
    const known = this.#reach ? null : this.#files[this.#at];
    const value = known ?? (empty(this.#canvas) ? "" : this.keeper.name(this.#canvas));
    if (known === null && value && !arrived.has(value))
      onTheWay.set(value, { blob: picture(this.#canvas), sent: null });
    if (this.#reach)
      this.#unsaved = true; // a stroke goes on
    else this.#files[this.#at] = value;
    if (value !== this.keeper.read()) this.keeper.write(value);
    this.#deliver(value).catch(this.keeper.failed);
  }

  /**
   * The value, when the server has its file, which is sent again where it was lost and is still shown here; what is
   * painted meanwhile gets another, which is not waited for.
   */
  async settle() {
    if (this.#reach) this.#unsaved = true;
    this.commit();
    const value = this.keeper.read();
    await this.#deliver(value);
    const shown = this.#canvas && value === this.#files[this.#at] && !empty(this.#canvas) ? this.#canvas : null;
    if (value && shown && (await this.keeper.lost(value))) await this.keeper.send(await picture(shown), value);
    return value;
  }

  /** @param {Step} step */
  #add(step) {
    this.#steps = [...this.#steps.slice(0, this.#at), step];
    this.#files = [...this.#files.slice(0, this.#at + 1), null];
    this.#at += 1;
    while (this.#steps.length > 1 && (this.#steps.length > MOST_STEPS || bytes(this.#steps) > MOST_BYTES)) {
      this.#steps.shift();
      this.#files.shift();
      this.#at -= 1;
    }
    this.#later();
  }

  /** @param {-1 | 1} way */
  #walk(way) {
    if (this.#reach) this.end();
    const step = this.#steps[way < 0 ? this.#at - 1 : this.#at];
    if (!step || !this.#canvas) return;
    context(this.#canvas).putImageData(way < 0 ? step.before : step.after, step.x, step.y);
    this.#at += way;
    this.#later();
  }

  #later() {
    this.#unsaved = true;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.commit(), PAUSE);
    this.keeper.changed();
  }

  /** @param {string} value */
  async #deliver(value) {
    const entry = onTheWay.get(value);
    if (!entry) return;
    entry.sent ??= entry.blob.then((blob) => this.keeper.send(blob, value));
    try {
      await entry.sent;
      onTheWay.delete(value);
      arrived.add(value);
    } catch (error) {
      entry.sent = null; // it is tried again when the graph is queued
      throw error;
    }
  }
}

/** @param {HTMLCanvasElement} canvas */
export function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** Show a painting, or none. @param {HTMLCanvasElement} canvas @param {HTMLImageElement | null} paint */
export function redraw(canvas, paint) {
  const into = context(canvas);
  into.clearRect(0, 0, canvas.width, canvas.height);
  into.imageSmoothingEnabled = false; // colours stay as they are
  if (paint) into.drawImage(paint, 0, 0, canvas.width, canvas.height);
}

/**
 * @param {HTMLCanvasElement} canvas @param {number} x @param {number} y @param {number} width @param {number} height
 */
function pixels(canvas, x, y, width, height) {
  return context(canvas).getImageData(x, y, width, height);
}

/** @param {ImageData} one @param {ImageData} other */
function same(one, other) {
  const [left, right] = [new Uint32Array(one.data.buffer), new Uint32Array(other.data.buffer)];
  return left.every((value, index) => value === right[index]);
}

/** @param {HTMLCanvasElement} canvas */
function empty(canvas) {
  const all = new Uint32Array(pixels(canvas, 0, 0, canvas.width, canvas.height).data.buffer);
  return all.every((value) => value === 0);
}

/** @param {Step[]} steps */
function bytes(steps) {
  return steps.reduce((sum, step) => sum + 2 * step.before.data.length, 0);
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Blob>} */
function picture(canvas) {
  return new Promise((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("no picture"))), "image/png"),
  );
}
