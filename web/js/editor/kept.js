// @ts-check
/** Which file shows a node, remembered in the browser: for runs of which the server's history holds nothing. */
import { recall, remember } from "../shared/memory.js";
import { locatorOf, workflowId } from "./nodes.js";
import { fetchJson } from "./server.js";

/** @typedef {import("./nodes.js").File} File */

const FILES = "SceneScope.files";
const MOST_FILES = 200;

/** Remember in the browser which file shows a node. @param {any} node @param {File} file */
export function noteFile(node, file) {
  const known = files();
  const key = `${workflowId()} ${locatorOf(node)}`;
  if (JSON.stringify(known[key]) === JSON.stringify(file)) return;
  delete known[key]; // added again at the end, so the oldest go first
  known[key] = file;
  remember(FILES, Object.fromEntries(Object.entries(known).slice(-MOST_FILES)));
}

/** @returns {Record<string, File>} */
const files = () => recall(FILES, {});

/** What a node's file holds, null where it has none. @param {any} node @returns {Promise<any>} */
export async function readFile(node) {
  const file = files()[`${workflowId()} ${locatorOf(node)}`];
  return file ? fetchJson(`/view?${new URLSearchParams({ ...file })}`) : null;
}
