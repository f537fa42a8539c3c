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

/**
 * Say again, in the editor's language, what a workflow may have been saved with in Chinese.
 * @param {string} text @param {boolean} title Titles begin with a capital, labels don't; in Chinese they are the same.
 */
export function sayAgain(text, title) {
  const found = Object.keys(chinese).filter((english) => chinese[english] === text);
  return say(found.find((english) => /^[A-Z]/.test(english) === title) ?? found[0] ?? text);
}
