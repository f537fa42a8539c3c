// @ts-check
/** Small maps as the server's messages carry them: bytes in base64, 255 for `top`. */

/** @typedef {{grid: [number, number], top: number, cells: string}} Cells */

/** The map's values, row by row. @param {Cells} map @returns {Float32Array} */
export function valuesOf({ top, cells }) {
  const bytes = atob(cells);
  return Float32Array.from(bytes, (byte) => (byte.charCodeAt(0) * top) / 255);
}
