// @ts-check
/** Where the classic renderer paints: the picture, the paint over it, and the brush. */
import { element, eachFrame } from "../shared/dom.js";
import { addChinese, say } from "../shared/i18n.js";
import { context } from "./history.js";

/** @typedef {{erase: () => boolean, size: () => number, colour: () => string, resize: (factor: number) => void}} Brush */
/** @typedef {{x: number, y: number}} Point  In pixels of the picture. */

addChinese({
  "Painting. Arrow keys move the brush, Space paints, Shift with arrows draws a line.": "绘画区。方向键移动画笔，空格键绘制，Shift 加方向键画线。",
});

/**
 * @param {ReturnType<typeof import("./history.js").makePainting>} painting
 * @param {Brush} brush
 */
export function makeStage(painting, brush) {
  const image = element("img", { alt: "", draggable: "false" });
  const canvas = element("canvas");
  const ring = element("div", { class: "ss-ring", hidden: true });
  const frame = element("div", { class: "ss-frame ss-paper", hidden: true }, [image, canvas, ring]);
  const says = say("Painting. Arrow keys move the brush, Space paints, Shift with arrows draws a line.");
  const root = element("div", { class: "ss-paint-stage", tabindex: 0, role: "application", "aria-label": says }, [frame]);
  const layer = document.createElement("canvas"); // the stroke, opaque
  /** @type {Point} */
  let here = { x: 0, y: 0 };
  /** @type {Point[]} */
  let coming = [];
  let down = false;
  painting.use(canvas);

  /** Fit the frame into the room there is. */
  function fit() {
    if (frame.hidden || !canvas.width) return;
    const scale = Math.min(root.clientWidth / canvas.width, root.clientHeight / canvas.height);
    frame.style.width = `${Math.floor(canvas.width * scale)}px`;
    frame.style.height = `${Math.floor(canvas.height * scale)}px`;
    drawRing();
  }

  function drawRing() {
    const scale = frame.clientWidth / canvas.width;
    const wide = Math.max(3, brush.size() * scale);
    ring.style.cssText = `width: ${wide}px; height: ${wide}px; left: ${here.x * scale - wide / 2}px; top: ${here.y * scale - wide / 2}px;`;
  }

  /** @param {{clientX: number, clientY: number}} event @returns {Point} */
  function place(event) {
    const box = canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * canvas.width, y: ((event.clientY - box.top) / box.height) * canvas.height };
  }

  /** @param {Point} from */
  function start(from) {
    painting.use(canvas); // it may have been the host's
    const base = painting.begin();
    layer.width = base.width;
    layer.height = base.height;
    down = true;
    line(from, from);
    here = from;
  }

  /** One piece of a stroke: onto the stroke's layer, and what it touches anew. @param {Point} from @param {Point} to */
  function line(from, to) {
    const [size, on, into] = [brush.size(), context(layer), context(canvas)];
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
    const [wide, high] = [Math.ceil(Math.abs(from.x - to.x) + 2 * reach) + 1, Math.ceil(Math.abs(from.y - to.y) + 2 * reach) + 1];
    into.save();
    into.beginPath();
    into.rect(left, top, wide, high);
    into.clip();
    into.globalCompositeOperation = "copy";
    into.drawImage(painting.base, 0, 0);
    into.globalCompositeOperation = brush.erase() ? "destination-out" : "source-over";
    into.drawImage(layer, 0, 0);
    into.restore();
  }

  const flow = eachFrame(() => {
    for (const point of coming) {
      if (down) line(here, point);
      here = point;
    }
    coming = [];
    drawRing();
  });

  function stop() {
    if (!down) return;
    flow.cancel();
    for (const point of coming) {
      line(here, point);
      here = point;
    }
    [coming, down] = [[], false];
    painting.end();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || down) return;
    event.stopPropagation();
    root.focus({ preventScroll: true });
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // An event that a script made has no pointer to capture.
    }
    ring.hidden = false;
    start(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    ring.hidden = false;
    const points = (down && event.getCoalescedEvents?.()) || [];
    coming.push(...(points.length ? points : [event]).map(place));
    flow();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, stop);
  canvas.addEventListener("pointerleave", () => {
    if (!down) {
      ring.hidden = root !== document.activeElement;
      painting.commit();
    }
  });

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || frame.hidden) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by) {
      const far = Math.max(1, brush.size() / 4);
      const to = { x: clamp(here.x + by[0] * far, canvas.width), y: clamp(here.y + by[1] * far, canvas.height) };
      if (event.shiftKey) dab(here, to);
      here = to;
    } else if (event.key === " ") dab(here, here);
    else if (event.key === "[" || event.key === "]") brush.resize(event.key === "[" ? 0.8 : 1.25);
    else return;
    event.preventDefault();
    ring.hidden = false;
    drawRing();
  }

  /** A short stroke by keys. @param {Point} from @param {Point} to */
  function dab(from, to) {
    if (down) return;
    start(from);
    line(from, to);
    stop();
  }

  root.addEventListener("keydown", key);
  root.addEventListener("blur", () => {
    ring.hidden = true;
    painting.commit();
  });
  const room = new ResizeObserver(fit);
  room.observe(root);

  return {
    root, canvas, image, fit, drawRing, stop,
    /** Give the painting a size; what is on it is stretched. @param {number} width @param {number} height */
    resize(width, height) {
      if (frame.hidden) here = { x: width / 2, y: height / 2 };
      frame.hidden = false;
      if (canvas.width !== width || canvas.height !== height || !canvas.dataset.sized) {
        painting.commit();
        const old = document.createElement("canvas");
        [old.width, old.height] = [canvas.width, canvas.height];
        if (canvas.dataset.sized) context(old).drawImage(canvas, 0, 0);
        [canvas.width, canvas.height, canvas.dataset.sized] = [width, height, "true"];
        context(canvas).imageSmoothingEnabled = false; // colours stay as they are
        context(canvas).drawImage(old, 0, 0, width, height);
        here = { x: width / 2, y: height / 2 };
        painting.forget();
      }
      fit();
    },
    dispose: () => room.disconnect(),
  };
}

/** @param {number} value @param {number} most */
function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}
