// @ts-check
/**
 * Which workflow a run belongs to. Nodes of different workflows share ids, and the one that runs may not be open:
 * messages about its run wait until it is open again.
 */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { workflowId } from "./nodes.js";

/** The workflow that queued a prompt, by the prompt's id, as far as this page knows. @type {Map<string, string>} */
const owners = new Map();
/** The id of the running prompt, "" if there is none or this page does not know it. */
let going = "";
/**
 * What waits for workflows that are not open, by kind: only the last of each kind.
 * @type {Map<string, Map<string, (late?: boolean) => void>>}
 */
const held = new Map();

/** @type {any} */ (api).addEventListener("execution_start", (/** @type {any} */ { detail }) => {
  going = detail.prompt_id;
});
for (const end of ["execution_success", "execution_error", "execution_interrupted", "reconnected"]) {
  /** @type {any} */ (api).addEventListener(end, (/** @type {any} */ { detail }) => {
    if (end === "reconnected" || detail.prompt_id === going) going = "";
  });
}

/** Note which workflow queued a prompt. @param {string} prompt  Its id. @param {string} workflow  The workflow's. */
export function noteOwner(prompt, workflow) {
  owners.set(prompt, workflow);
}

/** Note what is running: this page may have missed its start. @param {any[]} prompts  As the queue holds them. */
export function noteRunning(prompts) {
  for (const [, prompt, , more] of prompts) {
    noteOwner(prompt, more?.extra_pnginfo?.workflow?.id);
    going ||= prompt;
  }
}

/**
 * Do something at once if a run belongs to the open workflow, as far as this page knows; otherwise when its workflow is
 * opened.
 * @param {string | undefined} prompt  The run's id; the current run without one.
 * @param {string} kind  Only the last of each kind is done.
 * @param {(late?: boolean) => void} then  With whether it has waited.
 */
export function whenOpen(prompt, kind, then) {
  const owner = ownerOf(prompt);
  if (owner === undefined || owner === workflowId()) return then();
  const box = held.get(owner) ?? new Map();
  held.set(owner, box);
  box.delete(kind); // the new one comes last
  box.set(kind, then);
}

/** Whether the current run belongs to a workflow that is not open. */
export function isElsewhere() {
  const owner = ownerOf();
  return owner !== undefined && owner !== workflowId();
}

/** Outputs that the host has put on nodes of the open workflow while another one ran. @type {Set<string>} */
const strays = new Set();

/** Note that an output belongs to another workflow, though the host puts it here by its id. @param {any} output */
export function noteStray(output) {
  strays.add(strayName(output));
}

/** Whether an output belongs to another workflow than the open one. @param {any} output */
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
    for (const then of box?.values() ?? []) {
      try {
        then(true);
      } catch (error) {
        reportError(error); // the others are told all the same
      }
    }
  },
});
