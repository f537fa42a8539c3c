// @ts-check
/** What the panels say, in the editor's language: English, or Chinese where the editor is set to it. */
import { setting } from "../editor/nodes.js";

/** @type {Record<string, string>} */
const chinese = {};

/** Add a panel's sentences. @param {Record<string, string>} sentences English to Chinese. */
export function addChinese(sentences) {
  Object.assign(chinese, sentences);
}

/**
 * Say something, with `{name}` replaced by values.
 * @param {string} english @param {Record<string, string | number>} [values]
 */
export function say(english, values = {}) {
  const text = String(setting("Comfy.Locale") ?? "en").startsWith("zh") ? (chinese[english] ?? english) : english;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
