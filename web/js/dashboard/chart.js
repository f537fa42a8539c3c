// @ts-check
/**
 * A curve over the steps of a run: single steps as faint dots, their running mean as a line, the phases behind them.
 */

/** @typedef {(number | null)[]} Values */
/** @typedef {{name: string, ink: string, raw: Values, smooth: Values}} Line */
/**
 * @typedef {{at: number[], steps: number, phase1: number}} Axis  steps that have values; all steps; those of phase 1
 */

const LEFT = 48;
const EDGE = 6;
const BELOW = 14;

/**
 * Draw lines into a canvas, at its size on the screen.
 * @param {HTMLCanvasElement} canvas @param {Line[]} lines @param {Axis} axis
 * @param {number} cursor  index of a step, or -1
 * @param {{logarithmic: boolean, ink: string, faint: string, shade: string}} style
 */
export function drawChart(canvas, lines, axis, cursor, style) {
  const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
  if (!wide || !high) return;
  const sharp = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(wide * sharp), Math.round(high * sharp)];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, wide, high);
  const [low, top] = range(lines, style.logarithmic);
  const scale = style.logarithmic ? Math.log : (/** @type {number} */ value) => value;
  const x = (/** @type {number} */ step) => LEFT + (step / Math.max(1, axis.steps)) * (wide - LEFT - EDGE);
  const y = (/** @type {number} */ value) =>
    EDGE + ((scale(top) - scale(value)) / (scale(top) - scale(low))) * (high - EDGE - BELOW);
  frame(pen, { wide, high, low, top, x, y }, axis, style);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, wide - LEFT, high - BELOW + 3);
  pen.clip();
  for (const { ink, raw, smooth } of lines) {
    pen.fillStyle = pen.strokeStyle = ink;
    pen.globalAlpha = 0.6;
    raw.forEach((value, at) => {
      if (shown(value, style.logarithmic)) pen.fillRect(x(axis.at[at]) - 1, y(value) - 1, 2, 2);
    });
    pen.globalAlpha = 1;
    pen.lineWidth = 1.8;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawn = 0;
    smooth.forEach((value, at) => {
      if (!shown(value, style.logarithmic)) return;
      if (drawn++) pen.lineTo(x(axis.at[at]), y(value));
      else pen.moveTo(x(axis.at[at]), y(value));
    });
    pen.stroke();
    const at = cursor < 0 ? smooth.length - 1 : cursor;
    const marked = smooth[at];
    if (!shown(marked, style.logarithmic)) continue;
    pen.beginPath();
    pen.arc(x(axis.at[at]), y(marked), 3, 0, 7);
    pen.fill();
  }
  pen.restore();
  if (cursor >= 0) stroke(pen, style.ink, [1, 2], x(axis.at[cursor]), EDGE, x(axis.at[cursor]), high - BELOW);
}

/**
 * Which of the steps that have values is nearest to a place in a canvas. @param {HTMLElement} canvas
 * @param {number} clientX @param {Axis} axis
 */
export function stepAt(canvas, clientX, axis) {
  const box = canvas.getBoundingClientRect();
  const left = (LEFT / canvas.clientWidth) * box.width;
  const right = (EDGE / canvas.clientWidth) * box.width;
  const step = ((clientX - box.left - left) / (box.width - left - right)) * axis.steps;
  let best = -1;
  axis.at.forEach((at, index) => {
    if (best < 0 || Math.abs(at - step) < Math.abs(axis.at[best] - step)) best = index;
  });
  return best;
}

/** A loss, formatted for people. @param {number | null | undefined} value */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(3);
}

/** @param {number | null | undefined} value @param {boolean} logarithmic @returns {value is number} */
function shown(value, logarithmic) {
  return value !== null && value !== undefined && (!logarithmic || value > 0);
}

/**
 * The range of the values; 0 to 1 for IoUs. @param {Line[]} lines @param {boolean} logarithmic
 * @returns {[number, number]}
 */
function range(lines, logarithmic) {
  if (!logarithmic) return [0, 1];
  const smooth = lines.flatMap((line) => line.smooth.filter((value) => shown(value, true)));
  const raw = lines
    .flatMap((line) => line.raw.filter((value) => shown(value, true)))
    .sort((a, b) => Number(a) - Number(b));
  if (!smooth.length) return [0.1, 1];
  // A few single steps are outliers; they may leave the frame so that the line stays visible.
  const ends = raw.length ? [raw[Math.floor(raw.length * 0.03)], raw[Math.ceil(raw.length * 0.97) - 1]] : [];
  const all = [...smooth, ...ends].map(Number);
  const [low, top] = [Math.min(...all), Math.max(...all)];
  return [low / 1.12, Math.max(top, low * 1.05) * 1.12];
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {{wide: number, high: number, low: number, top: number, x: (step: number) => number, y: (value: number) =>
 * number}} place
 * @param {Axis} axis @param {{logarithmic: boolean, ink: string, faint: string, shade: string}} style
 */
function frame(pen, { wide, high, low, top, x, y }, axis, { logarithmic, faint, shade }) {
  const bottom = high - BELOW;
  pen.fillStyle = shade;
  if (axis.phase1 < axis.steps) pen.fillRect(x(axis.phase1), EDGE, wide - EDGE - x(axis.phase1), bottom - EDGE);
  pen.fillStyle = faint;
  pen.font = "10px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const middle = logarithmic ? Math.sqrt(low * top) : (low + top) / 2;
  for (const value of [low, middle, top]) {
    pen.globalAlpha = 0.7;
    stroke(pen, faint, [], LEFT, y(value), wide - EDGE, y(value));
    pen.globalAlpha = 1;
    pen.fillText(figure(value), LEFT - 4, Math.min(bottom - 4, Math.max(EDGE + 3, y(value))));
  }
  pen.textBaseline = "bottom";
  pen.fillText(String(axis.steps), wide - EDGE, high);
  pen.textAlign = "left";
  pen.fillText("0", LEFT, high);
  const boundary = x(axis.phase1);
  if (axis.phase1 <= 0 || axis.phase1 >= axis.steps) return;
  stroke(pen, faint, [3, 3], boundary, EDGE, boundary, bottom);
  pen.textAlign = "center";
  if (boundary > LEFT + 24 && boundary < wide - 40) pen.fillText(String(axis.phase1), boundary, high);
}

/**
 * @param {CanvasRenderingContext2D} pen @param {string} ink @param {number[]} dash @param {number} x1
 * @param {number} y1 @param {number} x2 @param {number} y2
 */
function stroke(pen, ink, dash, x1, y1, x2, y2) {
  pen.strokeStyle = ink;
  pen.lineWidth = 1;
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
}
