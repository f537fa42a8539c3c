// @ts-check
/** The painter shows what the node and the nodes before it say. */
import { viewAddress } from "../editor/nodes.js";
import { fileAddress, inVue, pictureBefore } from "../editor/pictures.js";
import { redraw, waiting } from "./history.js";
import { hostCanvas, putUnderHost } from "./host.js";
import { firstThatLoads, loaded, sheet } from "./loading.js";
import { widget } from "./rows.js";

/** @typedef {import("./painter.js").Painter} Painter */

/**
 * Bring picture and paint to what the node and the nodes before it say.
 * @param {Painter} painter @returns {Promise<void>}
 */
export async function syncStage(painter) {
  painter.fill();
  painter.tell();
  if (inVue()) return painter.lines ? pictureUnderHost(painter) : undefined;
  const { connected, address } = pictureBefore(painter.node, painter.slot);
  const last = painter.scene?.picture ? viewAddress(painter.scene.picture) : null;
  const { value } = painter;
  if (painter.seen === undefined && connected) painter.seen = address;
  const given = painter.scene?.given && address === painter.seen ? viewAddress(painter.scene.given) : null;
  const wanted = JSON.stringify([connected, address, last, given, value]);
  if (wanted === painter.wanted) return;
  painter.wanted = wanted;
  // What the run saw comes first: a browser rotates a file as its camera recorded, and not every loader does.
  const ran = address === painter.seen ? last : null;
  const under = connected ? await firstThatLoads([given, ran, address, last]) : null;
  const paper = under ?? (painter.lines ? await sheet() : null);
  const paint = value && value !== painter.shown ? await loaded(waiting(value) ?? fileAddress(value)) : null;
  if (wanted !== painter.wanted) return;
  if (value !== painter.value) return void painter.sync(); // painting was given a new name meanwhile
  putUnder(painter, paper);
  if (value !== painter.shown) {
    painter.gone = Boolean(value) && !paint; // until another value comes, however often the node is looked at
    putPaint(painter, paint);
  }
  painter.shown = value;
  painter.status.textContent = painter.gone ? painter.loss : under ? "" : painter.lacking;
  painter.status.hidden = !painter.status.textContent;
  painter.stage.fit();
  painter.tell();
}

/**
 * The picture that Steer Words is given, under the host's painter, which looks for one at the first input alone.
 * @param {Painter} painter
 */
async function pictureUnderHost(painter) {
  const { connected, address } = pictureBefore(painter.node, painter.slot);
  const last = painter.scene?.picture ? viewAddress(painter.scene.picture) : null;
  const wanted = JSON.stringify([connected, address, last]);
  painter.wanted = wanted;
  const picture = connected ? await firstThatLoads([address, last]) : null;
  if (wanted !== painter.wanted) return;
  putUnderHost(painter.root, picture, !painter.value && !painter.painting.unsaved);
}

/**
 * Bring the host's part to what the node says: after undo, what was undone is still on its canvas.
 * @param {Painter} painter
 */
export async function syncHost({ root, value, painting }) {
  const canvas = hostCanvas(root);
  const known = canvas?.dataset.value;
  if (canvas) canvas.dataset.value = value;
  if (!canvas || known === undefined || known === value) return;
  const paint = value ? await loaded(waiting(value) ?? fileAddress(value)) : null;
  if (canvas.dataset.value !== value) return; // there is a newer one
  redraw(canvas, paint);
  painting.use(canvas);
  painting.forget();
}

/**
 * Restore the value that the host's painter emptied because it could not load the file: the server may be down, or the
 * file still on its way. If the file can be loaded, somebody has emptied the value on purpose.
 * @param {Painter} painter @param {string} value
 */
export async function bringBack(painter, value) {
  if (!waiting(value) && (await loaded(fileAddress(value)))) return;
  if (painter.value) return;
  widget(painter.node, "mask").value = value;
  painter.gone = true;
  await showInHost(painter);
}

/** Show the painting in the host's painter if it can be loaded by now. @param {Painter} painter */
export async function showInHost(painter) {
  const { value } = painter;
  const paint = await loaded(waiting(value) ?? fileAddress(value));
  const canvas = hostCanvas(painter.root);
  if (value !== painter.value || painter.painting.unsaved) return;
  if (canvas && paint) {
    [canvas.width, canvas.height] = [paint.naturalWidth, paint.naturalHeight];
    redraw(canvas, paint);
    canvas.dataset.value = value;
    painter.gone = false;
  }
  painter.tell();
}

/** @param {Painter} painter @param {HTMLImageElement | null} picture */
function putUnder({ stage }, picture) {
  stage.image.hidden = !picture;
  if (!picture) return;
  stage.image.src = picture.src;
  stage.resize(picture.naturalWidth, picture.naturalHeight);
}

/** @param {Painter} painter @param {HTMLImageElement | null} paint */
function putPaint({ stage, painting }, paint) {
  if (stage.image.hidden && paint) stage.resize(paint.naturalWidth, paint.naturalHeight);
  redraw(stage.canvas, paint);
  painting.forget();
}
