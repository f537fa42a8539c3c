// @ts-check
/** The host's own painter, which the Vue renderer shows: its brush gets our colours, and its strokes can be undone. */

const CANVAS = "[data-testid=painter-canvas]";
const COLOUR_INPUT = "[data-testid=painter-color-row] input[type=color]";
const CLEAR_BUTTON = "[data-testid=painter-clear-button]";
const WIDEST = 1.6; // a soft brush reaches further than its size says

/** @typedef {ReturnType<typeof import("./history.js").makePainting>} Painting */

/** The canvas of the host's painter beside a panel. @param {HTMLElement} root @returns {HTMLCanvasElement | null} */
export function hostCanvas(root) {
  return root.closest("[data-node-id]")?.querySelector(CANVAS) ?? null;
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
 * Follow what is painted with the host's painter. Everything is heard on its way down, before the host paints, and a
 * stroke's end is looked at after it.
 * @param {HTMLElement} root @param {Painting} painting @param {() => number} size  The host's brush.
 * @returns {() => void}  Stop.
 */
export function watchHost(root, painting, size) {
  const ended = new AbortController();
  let down = false;
  /** @param {Event} event @returns {HTMLCanvasElement | null} */
  const mine = (event) => (event.target instanceof HTMLCanvasElement && event.target === hostCanvas(root) ? event.target : null);
  /** @param {PointerEvent} event */
  const touch = (event) => {
    const canvas = /** @type {HTMLCanvasElement} */ (event.target);
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    painting.touch((event.clientX - box.left) * scale, (event.clientY - box.top) * (canvas.height / box.height), size() * WIDEST);
  };
  /** @param {string} kind @param {(event: any) => void} then */
  const hear = (kind, then) => document.addEventListener(kind, then, { capture: true, signal: ended.signal });
  hear("pointerdown", (event) => {
    const canvas = event.button === 0 ? mine(event) : null;
    if (!canvas) return;
    painting.use(canvas);
    painting.begin();
    touch(event);
    down = true;
  });
  hear("pointermove", (event) => {
    if (down && mine(event)) for (const point of event.getCoalescedEvents?.() ?? [event]) touch(point.target ? point : event);
    if (down && mine(event)) touch(event);
  });
  for (const kind of ["pointerup", "pointerleave"]) {
    hear(kind, (event) => {
      if (!mine(event)) return;
      const stroke = down;
      down = false;
      setTimeout(() => {
        if (stroke) painting.end();
        if (stroke) root.focus({ preventScroll: true }); // so that Ctrl+Z is the painter's
        if (kind === "pointerleave") painting.commit();
      });
    });
  }
  hear("click", (event) => {
    const canvas = hostCanvas(root);
    const button = event.target instanceof Element && event.target.closest(CLEAR_BUTTON);
    if (!canvas || !button || button.closest("[data-node-id]") !== root.closest("[data-node-id]")) return;
    painting.use(canvas);
    painting.begin();
    painting.touch(canvas.width / 2, canvas.height / 2, Math.max(canvas.width, canvas.height));
    setTimeout(() => painting.end());
  });
  return () => ended.abort();
}
