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
