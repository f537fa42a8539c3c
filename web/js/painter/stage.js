// @ts-check
/** Where the classic renderer paints: the picture, the paint over it, and the brush. */
import { eachFrame, element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { fillRegion } from "./fill.js";
import { context } from "./history.js";

/**
 * @typedef {{erase: () => boolean, fills: () => boolean, size: () => number, colour: () => string,
 * resize: (factor: number) => void}} Brush
 */
/** @typedef {{x: number, y: number}} Point  In pixels of the picture. */

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  /** The stroke, opaque. */
  #layer = document.createElement("canvas");
  /** @type {Point} */
  #here = { x: 0, y: 0 };
  /** @type {Point[]} */
  #coming = [];
  #down = false;
  /** The pointer that paints: a second finger, or the palm of a hand, paints nothing. */
  #pointer = -1;
  /** Whether the canvas has had a size of ours. */
  #sized = false;

  /** @param {import("./history.js").Painting} painting @param {Brush} brush */
  constructor(painting, brush) {
    this.painting = painting;
    this.brush = brush;
    this.image = element("img", { alt: "", draggable: "false" });
    this.canvas = element("canvas");
    this.ring = element("div", { class: "ss-ring", hidden: true });
    this.frame = element("div", { class: "ss-frame ss-paper", hidden: true }, [this.image, this.canvas, this.ring]);
    const says = say("Painting. Arrow keys move the brush, Space paints or fills, Shift with arrows draws a line.");
    this.root = element("div", { class: "ss-paint-stage", tabindex: 0, role: "application", "aria-label": says }, [
      this.frame,
    ]);
    painting.use(this.canvas);
    this.flow = eachFrame(() => {
      this.#catchUp();
      this.drawRing();
    });
    this.room = new ResizeObserver(() => this.fit());
    this.room.observe(this.root);
    this.#listen();
  }

  dispose() {
    this.room.disconnect();
  }

  /** Fit the frame into the room there is. */
  fit() {
    const { root, canvas, frame } = this;
    if (frame.hidden || !canvas.width) return;
    const scale = Math.min(root.clientWidth / canvas.width, root.clientHeight / canvas.height);
    frame.style.width = `${Math.floor(canvas.width * scale)}px`;
    frame.style.height = `${Math.floor(canvas.height * scale)}px`;
    this.drawRing();
  }

  drawRing() {
    const scale = this.frame.clientWidth / this.canvas.width;
    const wide = this.brush.fills() ? 7 : Math.max(3, this.brush.size() * scale);
    const [left, top] = [this.#here.x * scale - wide / 2, this.#here.y * scale - wide / 2];
    this.ring.style.cssText = `width: ${wide}px; height: ${wide}px; left: ${left}px; top: ${top}px;`;
  }

  /** Give the painting a size; what is on it is stretched. @param {number} width @param {number} height */
  resize(width, height) {
    const { canvas, frame } = this;
    const middle = { x: width / 2, y: height / 2 };
    if (frame.hidden) this.#here = middle;
    frame.hidden = false;
    if (canvas.width !== width || canvas.height !== height || !this.#sized) {
      this.painting.commit();
      const old = document.createElement("canvas");
      [old.width, old.height] = [canvas.width, canvas.height];
      if (this.#sized) context(old).drawImage(canvas, 0, 0);
      [canvas.width, canvas.height, this.#sized] = [width, height, true];
      context(canvas).imageSmoothingEnabled = false; // colours stay as they are
      context(canvas).drawImage(old, 0, 0, width, height);
      this.#here = middle;
      this.painting.forget();
    }
    this.fit();
  }

  /** End the stroke that goes on. */
  stop() {
    if (!this.#down) return;
    this.flow.cancel();
    this.#catchUp();
    this.#down = false;
    this.painting.end();
  }

  #listen() {
    const { root, canvas, ring, painting } = this;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => {
      if (this.#down && event.pointerId !== this.#pointer) return;
      ring.hidden = false;
      const points = (this.#down && event.getCoalescedEvents?.()) || [];
      this.#coming.push(...(points.length ? points : [event]).map((point) => this.#place(point)));
      this.flow();
    });
    for (const kind of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      canvas.addEventListener(kind, (event) => event.pointerId === this.#pointer && this.stop());
    }
    canvas.addEventListener("pointerleave", () => {
      if (this.#down) return;
      ring.hidden = root !== document.activeElement;
      painting.commit();
    });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("blur", () => {
      ring.hidden = true;
      painting.commit();
    });
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button !== 0 || this.#down) return;
    event.stopPropagation();
    this.root.focus({ preventScroll: true });
    if (this.brush.fills()) return this.#fill(this.#place(event));
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // An event that a script made has no pointer to capture.
    }
    this.ring.hidden = false;
    this.#pointer = event.pointerId;
    this.#start(this.#place(event));
  }

  /** Where the pointer has been meanwhile. */
  #catchUp() {
    for (const point of this.#coming) {
      if (this.#down) this.#line(this.#here, point);
      this.#here = point;
    }
    this.#coming = [];
  }

  /** @param {{clientX: number, clientY: number}} event @returns {Point} */
  #place({ clientX, clientY }) {
    const { canvas } = this;
    const box = canvas.getBoundingClientRect();
    return {
      x: ((clientX - box.left) / box.width) * canvas.width,
      y: ((clientY - box.top) / box.height) * canvas.height,
    };
  }

  /** @param {Point} from */
  #start(from) {
    this.painting.use(this.canvas); // it may have been the host's
    const base = this.painting.begin();
    this.#layer.width = base.width;
    this.#layer.height = base.height;
    this.#down = true;
    this.#line(from, from);
    this.#here = from;
  }

  /**
   * One piece of a stroke: draw it on the stroke's layer, and redraw what it touches.
   * @param {Point} from @param {Point} to
   */
  #line(from, to) {
    const { painting, brush } = this;
    const [size, on, into] = [brush.size(), context(this.#layer), context(this.canvas)];
    on.strokeStyle = brush.colour();
    on.lineWidth = size;
    on.lineCap = on.lineJoin = "round";
    on.beginPath();
    on.moveTo(from.x, from.y);
    on.lineTo(to.x, to.y + (from.x === to.x && from.y === to.y ? 0.01 : 0)); // a line of no length has no caps
    on.stroke();
    painting.touch(from.x, from.y, size / 2);
    painting.touch(to.x, to.y, size / 2);
    const reach = size / 2 + 2;
    const [left, top] = [Math.floor(Math.min(from.x, to.x) - reach), Math.floor(Math.min(from.y, to.y) - reach)];
    const wide = Math.ceil(Math.abs(from.x - to.x) + 2 * reach) + 1;
    const high = Math.ceil(Math.abs(from.y - to.y) + 2 * reach) + 1;
    into.save();
    into.beginPath();
    into.rect(left, top, wide, high);
    into.clip();
    into.globalCompositeOperation = "copy";
    into.drawImage(painting.base, 0, 0);
    into.globalCompositeOperation = brush.erase() ? "destination-out" : "source-over";
    into.drawImage(this.#layer, 0, 0);
    into.restore();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.frame.hidden) return;
    const by = ARROWS[event.key];
    if (by) {
      const far = Math.max(1, this.brush.size() / 4);
      const { x, y } = this.#here;
      const to = { x: clamp(x + by[0] * far, this.canvas.width), y: clamp(y + by[1] * far, this.canvas.height) };
      if (event.shiftKey) this.#dab(this.#here, to);
      this.#here = to;
    } else if (event.key === " ") this.#dab(this.#here, this.#here);
    else if (event.key === "[" || event.key === "]") this.brush.resize(event.key === "[" ? 0.8 : 1.25);
    else return;
    event.preventDefault();
    this.ring.hidden = false;
    this.drawRing();
  }

  /** @param {Point} at */
  #fill(at) {
    this.#here = at;
    this.painting.use(this.canvas); // it may have been the host's
    this.painting.region(() => fillRegion(this.canvas, at, this.brush.colour()));
  }

  /** A short stroke by keys. @param {Point} from @param {Point} to */
  #dab(from, to) {
    if (this.#down) return;
    if (this.brush.fills()) return this.#fill(to);
    this.#start(from);
    this.#line(from, to);
    this.stop();
  }
}

/** @param {number} value @param {number} most */
function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}
