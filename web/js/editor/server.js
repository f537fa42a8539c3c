// @ts-check
/** What the server says and has kept: its messages, its history, and what nodes returned. */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { nodeOf, workflowId } from "./nodes.js";
import { withRefusals } from "./refusals.js";
import { whenOpen } from "./runs.js";

/** As the host's front end 1.49 names the widget that shows a text below a node. */
export const NODE_TEXT = "$$node-text-preview";

let listeners = 0;
/** Messages from this page itself, about the open workflow. @type {WeakSet<any>} */
const own = new WeakSet();

/**
 * Listen to a message of the server whose `node` is an execution id; the node is looked for each time, so that it may
 * be copied, undone or moved into a subgraph meanwhile. Null if it is not in the workflow. Messages about another
 * workflow's run come when that workflow is opened.
 * @param {string} event
 * @param {(node: any, detail: any, late: boolean) => void} on  With whether the message has waited.
 */
export function onMessage(event, on) {
  const listener = listeners++;
  /** @type {any} */ (api).addEventListener(event, (/** @type {any} */ { detail }) => {
    const id = detail?.node ?? detail?.nodeId ?? null;
    const tell = (late = false) => on(id === null ? null : nodeOf(String(id)), detail, late);
    if (own.has(detail)) tell();
    else whenOpen(detail?.prompt_id, `${listener} ${id}`, tell);
  });
}

/**
 * Call something with what nodes' runs return under a key, whether the nodes have a panel or not; when a workflow is
 * opened, with what the server's history of it holds.
 * @param {string} key @param {(output: any, id: string, earlier: boolean) => void} then  With the node's execution id,
 * and whether it comes from the history.
 */
export function onOutput(key, then) {
  onMessage("executed", (_node, { output, display_node: shown, node }) => {
    if (output?.[key]?.length) then(output[key][0], String(shown ?? node), false);
  });
  app.registerExtension({
    name: `SceneScope.outputs.${key}`,
    async afterConfigureGraph() {
      const told = new Set();
      for (const { prompt, outputs } of (await history()).reverse()) {
        if (prompt?.[3]?.extra_pnginfo?.workflow?.id !== workflowId()) continue;
        for (const [id, output] of Object.entries(outputs ?? {})) {
          const same = nodeOf(id)?.comfyClass === prompt[2][id]?.class_type;
          if (output?.[key]?.length && same && !told.has(id)) then(output[key][0], id, true);
          told.add(id);
        }
      }
    },
  });
}

/**
 * Show a text on a node as the server's progress texts are shown. The host's front end 1.49 listens to them, but not
 * to an empty one: what was said before would stay.
 * @param {string} nodeId  Its execution id. @param {string} text
 */
export function sayOnNode(nodeId, text) {
  const old = nodeOf(nodeId)?.widgets?.find((/** @type {any} */ widget) => widget.name === NODE_TEXT);
  const said = { nodeId, text };
  own.add(said);
  if (text) /** @type {any} */ (api).dispatchCustomEvent("progress_text", said);
  else if (old) old.value = "";
}

/**
 * What the server answers; null without a connection, and where there is nothing. @param {string} path
 * @returns {Promise<any>}
 */
export function fetchJson(path) {
  return api
    .fetchApi(path, { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : null))
    .catch(() => null);
}

/** @type {{at: number, entries: Promise<any[]>} | null} */
let asked = null;

/**
 * The server's last runs and those that it refused, oldest first; several panels ask at once and share the answer.
 * @returns {Promise<any[]>}
 */
export async function history() {
  if (!asked || performance.now() - asked.at > 2000) {
    asked = {
      at: performance.now(),
      entries: fetchJson("/history?max_items=24").then((found) => Object.values(found ?? {})),
    };
  }
  return withRefusals(await asked.entries);
}

/** Ask again: the server may be another one, or have gone on without us. */
export function forgetHistory() {
  asked = null;
}
