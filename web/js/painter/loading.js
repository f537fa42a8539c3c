// @ts-check
/** Pictures that may not be there. */

/** @param {string | Promise<Blob>} source @returns {Promise<HTMLImageElement | null>} */
export async function loaded(source) {
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

/** @param {(string | null)[]} addresses @returns {Promise<HTMLImageElement | null>} */
export async function firstThatLoads(addresses) {
  for (const address of addresses) {
    const picture = address && (await loaded(address));
    if (picture) return picture;
  }
  return null;
}

const SIDE = 512; // pixels of the empty square
/** @type {Promise<HTMLImageElement | null> | null} */
let empty = null;

/** An empty square to paint on. */
export function sheet() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [SIDE, SIDE];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillRect(0, 0, SIDE, SIDE);
  empty ??= loaded(canvas.toDataURL());
  return empty;
}
