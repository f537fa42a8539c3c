// @ts-check
/**
 * Runs that the server refused, remembered in the browser: the history doesn't have them, and after a reload what
 * they did not reach would look current.
 *
 * @typedef {object} Refusal
 * @property {string} workflow  Its id.
 * @property {Record<string, string>} classes  Of the nodes that were not run, by execution id.
 * @property {string | null} after  The id of the prompt that ended last before it, null where there was none.
 */

import { recall, remember } from "../shared/memory.js";

const REFUSALS = "SceneScope.refusals";
const MOST_REFUSALS = 24;

/**
 * Remember what was refused. @param {{workflow: any, output: any}} prompt  As the editor sends it.
 * @param {string[]} ids  The nodes that were not run. @param {string | null} after  As a refusal has it.
 */
export function noteRefusal({ workflow, output }, ids, after) {
  const classes = Object.fromEntries(ids.map((id) => [id, String(output[id]?.class_type)]));
  forgetRefusals(workflow?.id);
  keepAll([...refusals(), { workflow: workflow?.id, classes, after }]);
}

/** A workflow's run was taken: of what comes of it the history tells. @param {string} id  The workflow's. */
export function forgetRefusals(id) {
  keepAll(refusals().filter(({ workflow }) => workflow !== id));
}

/** @returns {Refusal[]} */
const refusals = () => recall(REFUSALS, []);

/** @param {Refusal[]} all */
const keepAll = (all) => remember(REFUSALS, all.slice(-MOST_REFUSALS));

/**
 * The history with what was refused, each after the prompt that ended before it; where that is not in it any more, all
 * that is in it came later.
 * @param {any[]} entries  Oldest first.
 */
export function withRefusals(entries) {
  const all = [...entries];
  for (const { workflow, classes, after } of refusals()) {
    const prompt = Object.fromEntries(Object.entries(classes).map(([id, name]) => [id, { class_type: name }]));
    const told = [0, null, prompt, { extra_pnginfo: { workflow: { id: workflow } } }];
    const at = all.findIndex((one) => one.prompt[1] === after) + 1;
    all.splice(at, 0, { prompt: told, outputs: {}, status: { status_str: "error", messages: [] } });
  }
  return all;
}
