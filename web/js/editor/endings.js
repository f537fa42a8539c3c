// @ts-check
/**
 * How runs end, as far as this concerns results that earlier runs left on the nodes. A run that fails, is cancelled, or
 * is refused when it is queued leaves nodes behind whose results are older than itself.
 */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { allNodes, nodeOf } from "./nodes.js";
import { forgetRefusals, noteRefusal } from "./refusals.js";
import { noteOwner } from "./runs.js";
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
/** Nodes whose earlier results a run has reused: execution ids by the prompt's id. @type {Map<string, string[]>} */
const cached = new Map();
/**
 * What each prompt of this page is to run, and what of it was refused.
 * @type {Map<string, {asked: string[], refused: string[]}>}
 */
const queued = new Map();

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

/**
 * @param {(node: any) => boolean} isAsked  Whether the run includes a node; it leaves out muted and bypassed ones.
 * @param {Partial<Ending>} ending
 */
function tell(isAsked, { reached = () => false, missed = () => false, culprit = null, message = "" }) {
  const ending = {
    reached: (/** @type {any} */ node) => isAsked(node) && witnesses(node).some(reached),
    missed: (/** @type {any} */ node) =>
      isAsked(node) && !witnesses(node).some(reached) && witnesses(node).some(missed),
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

/** @param {any} node @param {Set<any>} seen  Nodes and links. @returns {any[]} */
function samplersBehind(node, seen) {
  seen.add(node);
  const links = (node.outputs ?? []).flatMap((/** @type {any} */ output) => output.links ?? []);
  return targets(node.graph, links, seen)
    .filter((other) => !seen.has(other))
    .flatMap((other) => (isSampler(other) ? [other] : samplersBehind(other, seen)));
}

/**
 * The nodes that links lead to, into subgraphs and out of them.
 * @param {any} graph @param {any[]} links  Their ids. @param {Set<any>} seen @returns {any[]}
 */
function targets(graph, links, seen) {
  return links.flatMap((id) => {
    const link = graph?.getLink(id);
    if (!link || seen.has(link)) return [];
    seen.add(link);
    const node = graph.getNodeById(link.target_id);
    const inside = node?.subgraph?.inputs[link.target_slot]?.linkIds;
    if (inside) return targets(node.subgraph, inside, seen);
    if (node) return [node];
    const places = allNodes().filter(({ node: place }) => place.subgraph === graph);
    return places.flatMap(({ node: place }) =>
      targets(place.graph, place.outputs[link.target_slot]?.links ?? [], seen),
    );
  });
}

/** @param {string[]} ids  of the nodes that were to run */
function tellRefused(ids) {
  const asked = nodesOf(ids);
  for (const start of starters) start();
  const isAsked = (/** @type {any} */ node) => asked.has(node);
  tell(isAsked, { missed: isAsked });
}

/**
 * The execution ids of what a prompt is to run. Muted and bypassed nodes are not among them.
 * @param {Record<string, {inputs: Record<string, any>}>} output  The prompt, as the editor sends it.
 * @param {string[]} [ends]  The nodes to run with all that they need, if not the whole prompt.
 */
function askedOf(output, ends) {
  if (!ends) return Object.keys(output);
  const asked = new Set();
  const open = ends.map(String);
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (asked.has(id) || !output[id]) continue;
    asked.add(id);
    for (const input of Object.values(output[id].inputs ?? {})) if (Array.isArray(input)) open.push(String(input[0]));
  }
  return [...asked];
}

/**
 * What is known of a prompt that has ended, and forget it: what it was to run, was refused and has reused. A prompt of
 * another page counts as a run of all nodes.
 * @param {string} prompt  Its id.
 */
function takeOut(prompt) {
  const { asked = null, refused = [] } = queued.get(prompt) ?? {};
  const kept = cached.get(prompt) ?? [];
  queued.delete(prompt);
  cached.delete(prompt);
  const wanted = asked && nodesOf(asked);
  return {
    isAsked: (/** @type {any} */ node) => !wanted || wanted.has(node),
    left: nodesOf(refused),
    cached: nodesOf(kept),
  };
}

onMessage("execution_start", () => {
  for (const start of starters) start();
});
onMessage("execution_cached", (_node, { nodes, prompt_id: prompt }) => {
  cached.set(prompt, nodes ?? []);
});
onMessage("execution_success", (_node, { prompt_id: prompt }) => {
  const { isAsked, left } = takeOut(prompt);
  tell(isAsked, { reached: (node) => !left.has(node), missed: (node) => left.has(node) });
});
for (const event of ["execution_error", "execution_interrupted"]) {
  onMessage(event, (_node, detail) => {
    const { isAsked, cached: kept } = takeOut(detail.prompt_id);
    const done = new Set([...kept, ...nodesOf(detail.executed ?? [])]);
    const failed = event === "execution_error";
    tell(isAsked, {
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
      const asked = askedOf(prompt?.output ?? {}, options?.partialExecutionTargets);
      /** @type {any} */
      let answer;
      try {
        answer = await ask.apply(this, given);
      } catch (error) {
        tellRefused(asked);
        void lastEnded().then((last) => noteRefusal(prompt, asked, last));
        throw error;
      }
      if (!options?.partialExecutionTargets) forgetRefusals(prompt.workflow?.id);
      if (answer?.prompt_id) noteTaken(prompt, asked, answer);
      return answer;
    };
  },
});

/**
 * The server has taken a prompt, or as much of it as it can run.
 * @param {any} prompt @param {string[]} asked @param {any} answer
 */
function noteTaken(prompt, asked, { prompt_id: id, node_errors: errors }) {
  const bad = Object.entries(errors ?? {});
  const refused = bad.flatMap((/** @type {[string, any]} */ [id, error]) => [id, ...(error.dependent_outputs ?? [])]);
  noteOwner(id, prompt.workflow?.id);
  queued.set(id, { asked, refused });
  if (refused.length) noteRefusal(prompt, refused, id);
}

/** The id of the prompt that ended last, null where the server knows of none. @returns {Promise<string | null>} */
async function lastEnded() {
  forgetHistory();
  return (await history()).filter(({ prompt }) => prompt[1]).at(-1)?.prompt[1] ?? null;
}
