// @ts-check
/**
 * Colours of lines and their numbers, which people with any colour vision can tell apart, after Okabe and Ito (2008):
 * lighter on dark paper and darker on light, so that each is 4.5 times as bright as its paper, or the other way round.
 */

const ON_DARK = ["#56b4e9", "#e69f00", "#2fbf94", "#d98bb5", "#d8c840", "#f08a4b"];
const ON_LIGHT = ["#09578a", "#734b00", "#055e45", "#8a3462", "#5c5400", "#8f3900"];

/** The colours for an element's paper. @param {HTMLElement} root */
export function inksOn(root) {
  const [red = 0, green = 0, blue = 0] = (getComputedStyle(root).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 128 ? ON_LIGHT : ON_DARK;
}
