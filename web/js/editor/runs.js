// @ts-check
/**
 * Whose the runs are that the server tells of. Nodes of two workflows have the same ids, and one that is not open may
 * be running: what is told of its run is held until it is open again.
 */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { workflowId } from "./nodes.js";

/** Which workflow queued a prompt, by the prompt's id; of those that this page has queued. @type {Map<string, string>} */
const owners = new Map();
/** The id of the prompt that is running, "" where none is or this page cannot know it. */
let going = "";
/** What is held for workflows that are not open; of what is alike only the last. @type {Map<string, Map<string, () => void>>} */
const held = new Map();

/** @type {any} */ (api).addEventListener("execution_start", (/** @type {any} */ { detail }) => {
  going = detail.prompt_id;
});
for (const end of ["execution_success", "execution_error", "execution_interrupted", "reconnected"]) {
  /** @type {any} */ (api).addEventListener(end, (/** @type {any} */ { detail }) => {
    if (end === "reconnected" || detail.prompt_id === going) going = "";
  });
}

/** Note who has queued a prompt. @param {string} prompt  Its id. @param {string} workflow  The workflow's. */
export function noteOwner(prompt, workflow) {
  owners.set(prompt, workflow);
}

/** Note what is running, whose start this page may have missed. @param {any[]} prompts  As the queue holds them. */
export function noteRunning(prompts) {
  for (const [, prompt, , more] of prompts) {
    noteOwner(prompt, more?.extra_pnginfo?.workflow?.id);
    going ||= prompt;
  }
}

/**
 * Do something at once where a run is the open workflow's, as far as this page knows, and else when its workflow is
 * opened.
 * @param {string | undefined} prompt  The run's id; without one it is the run that goes on.
 * @param {string} kind  What it is about: of each kind the last is done. @param {() => void} then
 */
export function whenOpen(prompt, kind, then) {
  const owner = ownerOf(prompt);
  if (owner === undefined || owner === workflowId()) return then();
  const box = held.get(owner) ?? new Map();
  held.set(owner, box);
  box.delete(kind); // what is told anew comes last
  box.set(kind, then);
}

/** Whether the run that goes on is of a workflow that is not open. */
export function isElsewhere() {
  const owner = ownerOf();
  return owner !== undefined && owner !== workflowId();
}

/** What the host has put on nodes of the workflow that was open while another one ran. @type {Set<string>} */
const strays = new Set();

/** Note that an output is another workflow's, though the host shows it here: it goes by ids alone. @param {any} output */
export function noteStray(output) {
  strays.add(strayName(output));
}

/** Whether an output is not the open workflow's. @param {any} output */
export function isStray(output) {
  return strays.size > 0 && strays.has(strayName(output));
}

/** @param {any} output */
function strayName(output) {
  return `${workflowId()} ${JSON.stringify(output)}`;
}

/** @param {string} [prompt] */
function ownerOf(prompt = going) {
  return owners.get(prompt);
}

app.registerExtension({
  name: "SceneScope.runs",
  afterConfigureGraph() {
    const box = held.get(workflowId());
    held.delete(workflowId());
    for (const then of box?.values() ?? []) then();
  },
});
