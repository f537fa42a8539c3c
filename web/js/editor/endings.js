// @ts-check
/**
 * How runs end, as far as this concerns results that earlier runs left on the nodes. A run that fails, is cancelled, or is
 * refused when it is queued leaves nodes behind whose results are older than itself.
 */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { nodeOf } from "./nodes.js";
import { forgetRefusals, noteRefusal } from "./refusals.js";
import { forgetHistory, history, onMessage } from "./server.js";

/**
 * @typedef {object} Ending
 * @property {(node: any) => boolean} reached  Whether the run came to a node, or took over what it had.
 * @property {(node: any) => boolean} missed  Whether it should have, and did not.
 * @property {any} culprit  The node that failed, null where none did. @property {string} message  Why.
 */
/** Nodes that only prepare a model: what they show comes while a node behind them samples. */
const PREPARING = ["RecordAttention", "SteerWords", "ReplayAttention", "WordRegion"].map(
  (name) => `SceneScope_${name}`,
);

/** @type {((ending: Ending) => void)[]} */
const hearers = [];
/** @type {(() => void)[]} */
const starters = [];
/** Nodes whose last results belong to the current run. @type {any[]} */
let cached = [];
/**
 * What of a prompt was refused while the rest runs: execution ids by the prompt's id. @type {Map<string, string[]>}
 */
const refused = new Map();

/** Call something when a run starts, or is refused. @param {() => void} then */
export function onStart(then) {
  starters.push(then);
}

/** Call something when a run has ended, or was refused. @param {(ending: Ending) => void} then */
export function onEnding(then) {
  hearers.push(then);
}

/**
 * What the history says about a node in a run: whether the run ended before it was done with the node, whether it ended
 * in the node, and why the node failed.
 * @param {any} status  of the run @param {string} id  the node's
 * @returns {{missed: boolean, there: boolean, message: string}}
 */
export function endingOf(status, id) {
  const messages = /** @type {[string, any][]} */ (status?.messages ?? []);
  const reached = messages.some(([kind, { nodes, executed }]) =>
    [...(kind === "execution_cached" ? nodes : []), ...(executed ?? [])].includes(id),
  );
  const end = messages.find(([, detail]) => detail.node_id === id);
  const message = String(end?.[1].exception_message ?? "").trim();
  return { missed: status?.status_str === "error" && !reached, there: Boolean(end), message };
}

/** @param {Iterable<any>} ids @returns {Set<any>} */
function nodesOf(ids) {
  return new Set([...ids].map((id) => nodeOf(String(id))));
}

/** @param {Partial<Ending>} ending */
function tell({ reached = () => false, missed = () => false, culprit = null, message = "" }) {
  const ending = {
    reached: (/** @type {any} */ node) => witnesses(node).some(reached),
    missed: (/** @type {any} */ node) => !witnesses(node).some(reached) && witnesses(node).some(missed),
    culprit,
    message,
  };
  for (const hear of hearers) hear(ending);
}

/**
 * Whose run gives what a node shows: its own, or where it prepares a model, that of the samplers behind it.
 * @param {any} node @returns {any[]}
 */
function witnesses(node) {
  const samplers = PREPARING.includes(node.comfyClass) ? samplersBehind(node, new Set()) : [];
  return samplers.length ? samplers : [node];
}

/** @param {any} node */
function isSampler(node) {
  return node.outputs?.some((/** @type {any} */ output) => output.type === "LATENT") ?? false;
}

/** @param {any} node @param {Set<any>} seen @returns {any[]} */
function samplersBehind(node, seen) {
  seen.add(node);
  const links = (node.outputs ?? []).flatMap((/** @type {any} */ output) => output.links ?? []);
  const behind = links.map((/** @type {any} */ id) => node.graph?.getNodeById(node.graph.getLink(id)?.target_id));
  return behind
    .filter((/** @type {any} */ other) => other && !seen.has(other))
    .flatMap((/** @type {any} */ other) => (isSampler(other) ? [other] : samplersBehind(other, seen)));
}

/** @param {Iterable<string>} ids  of the nodes that were to run */
function tellRefused(ids) {
  const asked = nodesOf(ids);
  for (const start of starters) start();
  tell({ missed: (node) => asked.has(node) });
}

onMessage("execution_start", () => {
  cached = [];
  for (const start of starters) start();
});
onMessage("execution_cached", (_node, { nodes }) => {
  cached = [...nodesOf(nodes ?? [])];
});
onMessage("execution_success", (_node, { prompt_id: prompt }) => {
  const left = nodesOf(refused.get(prompt) ?? []);
  refused.delete(prompt);
  tell({ reached: (node) => !left.has(node), missed: (node) => left.has(node) });
});
for (const event of ["execution_error", "execution_interrupted"]) {
  onMessage(event, (_node, detail) => {
    const done = new Set([...cached, ...nodesOf(detail.executed ?? [])]);
    const failed = event === "execution_error";
    refused.delete(detail.prompt_id);
    tell({
      reached: (node) => done.has(node),
      missed: (node) => !done.has(node),
      culprit: failed ? nodeOf(String(detail.node_id)) : null,
      message: failed ? String(detail.exception_message).trim() : "",
    });
  });
}

// Only the sender learns that the server refused a prompt.
app.registerExtension({
  name: "SceneScope.endings",
  init() {
    const host = /** @type {any} */ (api);
    const ask = host.queuePrompt;
    host.queuePrompt = async function (/** @type {any[]} */ ...given) {
      const [, prompt, options] = given;
      try {
        const answer = await ask.apply(this, given);
        if (!options?.partialExecutionTargets) forgetRefusals(prompt.workflow?.id);
        const bad = Object.entries(answer?.node_errors ?? {});
        const ids = bad.flatMap((/** @type {[string, any]} */ [id, error]) => [id, ...(error.dependent_outputs ?? [])]);
        if (ids.length) {
          refused.set(answer.prompt_id, ids);
          noteRefusal(prompt, ids, answer.prompt_id);
        }
        return answer;
      } catch (error) {
        const ids = Object.keys(prompt?.output ?? {});
        tellRefused(ids);
        void lastEnded().then((last) => noteRefusal(prompt, ids, last));
        throw error;
      }
    };
  },
});

/** The id of the prompt that ended last, null where the server knows of none. @returns {Promise<string | null>} */
async function lastEnded() {
  forgetHistory();
  return (await history()).filter(({ prompt }) => prompt[1]).at(-1)?.prompt[1] ?? null;
}
