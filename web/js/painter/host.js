// @ts-check
/** The host's own painter, which the Vue renderer shows: its brush gets our colours, and its strokes can be undone. */

const CANVAS = "[data-testid=painter-canvas]";
const COLOUR_INPUT = "[data-testid=painter-color-row] input[type=color]";
const CONTAINER = "[data-testid=painter-canvas-container]";
const CLEAR_BUTTON = "[data-testid=painter-clear-button]";
const WIDEST = 1.6; // a soft brush reaches further than its size says

/** @typedef {import("./history.js").Painting} Painting */

/** The canvas of the host's painter beside a panel. @param {HTMLElement} root @returns {HTMLCanvasElement | null} */
export function hostCanvas(root) {
  return root.closest("[data-node-id]")?.querySelector(CANVAS) ?? null;
}

/**
 * Say on the host's empty canvas what it lacks; the sheet of styles shows it where there is no picture.
 * @param {HTMLElement} root @param {string} text
 */
export function hintInHost(root, text) {
  /** @type {HTMLElement | null | undefined} */
  const container = root.closest("[data-node-id]")?.querySelector(CONTAINER);
  if (container && container.dataset.scenescopeHint !== text) container.dataset.scenescopeHint = text;
}

/**
 * Show a picture under the host's painter, and take its size where nothing is painted yet.
 * @param {HTMLElement} root @param {HTMLImageElement | null} picture @param {boolean} empty
 */
export function putUnderHost(root, picture, empty) {
  const canvas = hostCanvas(root);
  const place = canvas?.parentElement;
  if (!canvas || !place) return;
  if (picture) place.dataset.scenescopePicture = "";
  else delete place.dataset.scenescopePicture;
  if (!picture) return;
  place.style.setProperty("--ss-picture", `url("${picture.src}")`);
  place.style.setProperty("--ss-aspect", `${picture.naturalWidth} / ${picture.naturalHeight}`);
  const { naturalWidth: width, naturalHeight: height } = picture;
  if (empty && (canvas.width !== width || canvas.height !== height)) [canvas.width, canvas.height] = [width, height];
}

/** Give a colour to the host's brush. @param {HTMLElement} root @param {string} colour */
export async function takeInHost(root, colour) {
  const whole = root.closest("[data-node-id]");
  if (!whole?.querySelector(COLOUR_INPUT)) {
    // The eraser hides the colour; the painter's first button is the brush.
    /** @type {HTMLElement | null | undefined} */
    const brush = whole?.querySelector(CLEAR_BUTTON)?.parentElement?.querySelector("button");
    brush?.click();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  const input = /** @type {HTMLInputElement | null | undefined} */ (whole?.querySelector(COLOUR_INPUT));
  if (!input) return;
  input.value = colour;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/**
 * @typedef {object} HostTools
 * @property {() => number} size  Of the host's brush.
 * @property {(canvas: HTMLCanvasElement, at: {x: number, y: number}) => boolean} fill  Fill, if that is the tool.
 * @property {() => void} chosen  One of the host's own tools was taken.
 */

/**
 * Follows what is painted with the host's painter. Everything is heard on its way down, before the host paints, and a
 * stroke's end is looked at after it.
 */
export class HostStrokes {
  #down = false;
  #ended = new AbortController();
  /** Whether the host's Clear button is being pressed. */
  clears = false;

  /** @param {HTMLElement} root @param {Painting} painting @param {HostTools} tools */
  constructor(root, painting, tools) {
    this.root = root;
    this.painting = painting;
    this.tools = tools;
    this.#hear("pointerdown", (event) => this.#begin(event));
    this.#hear("pointermove", (event) => this.#follow(event));
    this.#hear("pointerup", (event) => this.#end(event));
    this.#hear("pointerleave", (event) => this.#end(event));
    this.#hear("click", (event) => this.#press(event));
  }

  dispose() {
    this.#ended.abort();
  }

  /** @param {string} kind @param {(event: any) => void} then */
  #hear(kind, then) {
    document.addEventListener(kind, then, { capture: true, signal: this.#ended.signal });
  }

  /** @param {Event} event @returns {HTMLCanvasElement | null} */
  #mine(event) {
    return event.target instanceof HTMLCanvasElement && event.target === hostCanvas(this.root) ? event.target : null;
  }

  /** Where an event is, in pixels of the painting. @param {PointerEvent} event */
  #place({ target, clientX, clientY }) {
    const canvas = /** @type {HTMLCanvasElement} */ (target);
    const box = canvas.getBoundingClientRect();
    const [across, down] = [canvas.width / box.width, canvas.height / box.height];
    return { x: (clientX - box.left) * across, y: (clientY - box.top) * down };
  }

  /** @param {PointerEvent} event */
  #touch(event) {
    const { x, y } = this.#place(event);
    this.painting.touch(x, y, this.tools.size() * WIDEST);
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    const canvas = event.button === 0 ? this.#mine(event) : null;
    if (!canvas) return;
    this.painting.use(canvas);
    if (this.tools.fill(canvas, this.#place(event))) {
      event.stopPropagation(); // the host would paint
      this.root.focus({ preventScroll: true });
      return;
    }
    this.painting.begin();
    this.#touch(event);
    this.#down = true;
  }

  /** @param {PointerEvent} event */
  #follow(event) {
    if (!this.#down || !this.#mine(event)) return;
    for (const point of event.getCoalescedEvents?.() ?? [event]) this.#touch(point.target ? point : event);
    this.#touch(event);
  }

  /** @param {PointerEvent} event */
  #end(event) {
    if (!this.#mine(event)) return;
    const stroke = this.#down;
    this.#down = false;
    setTimeout(() => {
      if (stroke) this.painting.end();
      if (stroke) this.root.focus({ preventScroll: true }); // so that Ctrl+Z is the painter's
      if (event.type === "pointerleave") this.painting.commit();
    });
  }

  /** A button of the host's painter. @param {MouseEvent} event */
  #press(event) {
    const canvas = hostCanvas(this.root);
    const button = event.target instanceof Element && event.target.closest("button");
    const controls = canvas?.closest(".widget-expands");
    if (!canvas || !button || !controls?.contains(button)) return;
    if (!button.matches(CLEAR_BUTTON)) return event.isTrusted ? this.tools.chosen() : undefined; // not by `takeInHost`
    this.painting.use(canvas);
    this.painting.begin();
    this.painting.touch(canvas.width / 2, canvas.height / 2, Math.max(canvas.width, canvas.height));
    this.clears = true;
    setTimeout(() => {
      this.painting.end();
      this.clears = false;
    });
  }
}
