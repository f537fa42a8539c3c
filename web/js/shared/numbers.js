// @ts-check
/** Shares, formatted for people. */

/** @param {Float32Array} map */
export function largest(map) {
  let top = 0;
  for (const value of map) if (value > top) top = value;
  return top;
}

/** A share, formatted for people: three digits. @param {number} share */
export function number(share) {
  return share < 0.00005
    ? "0"
    : share >= 0.0995
      ? share.toFixed(2)
      : share >= 0.00995
        ? share.toFixed(3)
        : share.toFixed(4);
}
