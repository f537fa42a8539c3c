// @ts-check
/** What the browser remembers from page to page. A browser that keeps nothing, or is full, must not stop anything. */

/** What is remembered under a name; what is given where nothing is, or it can't be read.
 * @template T @param {string} name @param {T} otherwise @returns {T}
 */
export function recall(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null") ?? otherwise;
  } catch (error) {
    console.warn(`SceneScope: ${name}, which the browser should remember, can't be read.`, error);
    return otherwise;
  }
}

/** Remember something until the page is loaded again, and after. @param {string} name @param {any} value */
export function remember(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch (error) {
    console.warn(`SceneScope: the browser can't remember ${name}: it will be forgotten with this page.`, error);
  }
}
