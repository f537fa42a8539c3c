// @ts-check
/**
 * What is painted on a canvas: undo and redo by the rectangles that changed, and a file for it as soon as painting pauses.
 * A state of the painting that has a file keeps it, so that going back to it writes nothing.
 */

const PAUSE = 700; // milliseconds without a stroke
const MOST_BYTES = 256 * 2 ** 20; // of all rectangles together
const MOST_STEPS = 200;

/** Pictures that have a name already and are on their way to the server. @type {Map<string, {blob: Promise<Blob>, sent: Promise<void> | null}>} */
const onTheWay = new Map();

/** A picture that the server may not have yet. @param {string} value @returns {Promise<Blob> | undefined} */
export function waiting(value) {
  return onTheWay.get(value)?.blob;
}

/**
 * @typedef {object} Keeper
 * @property {() => string} read  The value that stands in the node.
 * @property {(value: string) => void} write
 * @property {() => string} fresh  A name for a new file.
 * @property {(blob: Blob, value: string) => Promise<void>} send  Put a file on the server.
 * @property {(error: unknown) => void} failed
 * @property {() => void} changed  Something can be undone, or no longer.
 */
/** @typedef {{x: number, y: number, before: ImageData, after: ImageData}} Step */

/** @param {Keeper} keeper */
export function makePainting(keeper) {
  /** @type {HTMLCanvasElement | null} */
  let canvas = null;
  const base = document.createElement("canvas");
  /** @type {Step[]} */
  let steps = [];
  /** The file of each state, the first before the first step; null where it has none. @type {(string | null)[]} */
  let files = [null];
  let at = 0;
  /** @type {{left: number, top: number, right: number, bottom: number} | null} */
  let reach = null;
  let unsaved = false;
  let timer = 0;

  /** Paint on this canvas from now on. @param {HTMLCanvasElement} next */
  function use(next) {
    if (next === canvas && base.width === next.width && base.height === next.height) return;
    commit();
    canvas = next;
    forget();
  }

  /** Begin anew with what the canvas shows, which is what the node's value names. */
  function forget() {
    [steps, files, at, reach, unsaved] = [[], [keeper.read()], 0, null, false];
    clearTimeout(timer);
    keeper.changed();
  }

  /** Before a stroke. Returns a canvas with what there was. */
  function begin() {
    if (!canvas) return base;
    if (reach) end();
    base.width = canvas.width;
    base.height = canvas.height;
    base.getContext("2d")?.drawImage(canvas, 0, 0);
    reach = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
    clearTimeout(timer);
    return base;
  }

  /** A stroke may have changed pixels as far as this. @param {number} x @param {number} y @param {number} radius */
  function touch(x, y, radius) {
    if (!reach) return;
    reach.left = Math.min(reach.left, x - radius - 1);
    reach.top = Math.min(reach.top, y - radius - 1);
    reach.right = Math.max(reach.right, x + radius + 1);
    reach.bottom = Math.max(reach.bottom, y + radius + 1);
  }

  /** After a stroke. */
  function end() {
    if (!reach || !canvas) return;
    const x = Math.max(0, Math.floor(reach.left));
    const y = Math.max(0, Math.floor(reach.top));
    const width = Math.min(canvas.width, Math.ceil(reach.right)) - x;
    const height = Math.min(canvas.height, Math.ceil(reach.bottom)) - y;
    reach = null;
    if (width <= 0 || height <= 0) return;
    const [before, after] = [pixels(base, x, y, width, height), pixels(canvas, x, y, width, height)];
    if (same(before, after)) return;
    steps = [...steps.slice(0, at), { x, y, before, after }];
    files = [...files.slice(0, at + 1), null];
    at += 1;
    while (steps.length > 1 && (steps.length > MOST_STEPS || bytes(steps) > MOST_BYTES)) {
      steps.shift();
      files.shift();
      at -= 1;
    }
    later();
  }

  /** @param {-1 | 1} way */
  function walk(way) {
    if (reach) end();
    const step = steps[way < 0 ? at - 1 : at];
    if (!step || !canvas) return;
    context(canvas).putImageData(way < 0 ? step.before : step.after, step.x, step.y);
    at += way;
    later();
  }

  /** Change all of it at once. @param {() => void} work */
  function whole(work) {
    if (!canvas) return;
    begin();
    touch(canvas.width / 2, canvas.height / 2, Math.max(canvas.width, canvas.height));
    work();
    end();
  }

  function later() {
    unsaved = true;
    clearTimeout(timer);
    timer = window.setTimeout(commit, PAUSE);
    keeper.changed();
  }

  /** Give what is painted a name, write the name into the node, and send it off. */
  function commit() {
    clearTimeout(timer);
    if (!unsaved || !canvas) return;
    unsaved = false;
    const known = reach ? null : files[at];
    const value = known ?? (empty(canvas) ? "" : keeper.fresh());
    if (known === null && value) onTheWay.set(value, { blob: picture(canvas), sent: null });
    if (reach) unsaved = true; // a stroke goes on
    else files[at] = value;
    if (value !== keeper.read()) keeper.write(value);
    deliver(value).catch(keeper.failed);
  }

  /** @param {string} value */
  async function deliver(value) {
    const entry = onTheWay.get(value);
    if (!entry) return;
    entry.sent ??= entry.blob.then((blob) => keeper.send(blob, value));
    try {
      await entry.sent;
      onTheWay.delete(value);
    } catch (error) {
      entry.sent = null; // it is tried again when the graph is queued
      throw error;
    }
  }

  return {
    base, use, forget, begin, touch, end, whole, commit,
    undo: () => walk(-1),
    redo: () => walk(1),
    canUndo: () => at > 0,
    canRedo: () => at < steps.length,
    /** The value, when the server has its file. */
    async settle() {
      if (reach) unsaved = true;
      commit();
      await deliver(keeper.read());
      return keeper.read();
    },
  };
}

/** @param {HTMLCanvasElement} canvas */
export function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** @param {HTMLCanvasElement} canvas @param {number} x @param {number} y @param {number} width @param {number} height */
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
  return new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("no picture"))), "image/png"));
}
