// @ts-check
/**
 * The one place that knows the editor. A panel is a part of a node that shows what the node's last run returned;
 * `registerPanel` keeps it alive through everything that the editor does to nodes.
 *
 * Every .js file below web/ is imported by the host, in any order: a module may define things, and may register panels,
 * but does nothing else when it is loaded.
 */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";

/**
 * @typedef {object} Panel
 * @property {(output: any) => void} show  Show what the last run returned under the plan's key; null where there is none.
 * @property {() => void} [dispose]  Let go of observers and listeners.
 */
/**
 * @typedef {object} PanelPlan
 * @property {string} name  The extension's and the widget's name, unique in the pack.
 * @property {string[]} nodes  Ids of the nodes that have it.
 * @property {string} key  Which of the node's `ui` outputs it shows.
 * @property {string} [event]  A message of the server whose `node` is the node's execution id: shown as an output is.
 * @property {number} height  Its least height in pixels; `root.style.minHeight` may change it later.
 * @property {[number, number]} [size]  The least size of a new node.
 * @property {boolean} [whole]  It shows all that the editor would show below the node's widgets; that is hidden.
 * @property {(output: any) => File} [file]  A file with the same output, for runs of which the history holds nothing.
 * @property {(output: any) => any} [ended]  What is left of a message when its run goes on no more and nothing newer is known.
 * @property {(node: any, root: HTMLElement) => Panel} create  Fill the root.
 */

/** @typedef {{filename: string, subfolder: string, type: string}} File */

/** @type {Map<any, {plan: PanelPlan, panel: Panel, shown: any}>} */
const live = new Map();
/** What was shown last, by the mark in a node's properties: a copy, or a node that undo makes again, finds it here. */
const remembered = new Map();
const MARK = "scenescope_mark";
const DOUBLES = ["$$canvas-image-preview", "$$node-text-preview"];

loadStyle(new URL("panel.css", import.meta.url));

/**
 * Give nodes a panel.
 * @param {PanelPlan} plan
 */
export function registerPanel(plan) {
  if (plan.event) {
    onMessage(plan.event, (node, detail) => {
      if (live.get(node)?.plan === plan) show(node, detail);
    });
  }
  /** @type {any} */ (api).addEventListener("reconnected", () => {
    asked = null;
    void restore(plan, true);
  });
  app.registerExtension({
    name: `SceneScope.${plan.name}`,
    nodeCreated(/** @type {any} */ node) {
      if (plan.nodes.includes(node.comfyClass)) attach(node, plan);
    },
    onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
      for (const [node, entry] of live) {
        const output = entry.plan === plan && outputs[locatorOf(node)]?.[plan.key]?.[0];
        if (output) show(node, output);
      }
    },
    afterConfigureGraph() {
      if ([...live.values()].some((entry) => entry.plan === plan)) void restore(plan);
    },
  });
}

/**
 * Call something with what nodes' runs return under a key, whether the nodes have a panel or not; when a workflow is opened,
 * with what the server's history of it holds.
 * @param {string} key @param {(output: any, id: string) => void} then  With the node's execution id.
 */
export function onOutput(key, then) {
  onMessage("executed", (_node, { output, display_node: shown, node }) => {
    if (output?.[key]?.length) then(output[key][0], String(shown ?? node));
  });
  app.registerExtension({
    name: `SceneScope.outputs.${key}`,
    async afterConfigureGraph() {
      const told = new Set();
      for (const { prompt, outputs } of (await history()).reverse()) {
        if (prompt?.[3]?.extra_pnginfo?.workflow?.id !== workflowId()) continue;
        for (const [id, output] of Object.entries(outputs ?? {})) {
          const same = nodeOf(id)?.comfyClass === prompt[2][id]?.class_type;
          if (output?.[key]?.length && same && !told.has(id)) then(output[key][0], id);
          told.add(id);
        }
      }
    },
  });
}

/**
 * Show a text on a node as the server's progress texts are shown. The host's front end 1.49 listens to them, but not to an
 * empty one: what was said before would stay.
 * @param {string} nodeId  Its execution id. @param {string} text
 */
export function sayOnNode(nodeId, text) {
  const old = nodeOf(nodeId)?.widgets?.find((/** @type {any} */ widget) => widget.name === DOUBLES[1]);
  if (text) /** @type {any} */ (api).dispatchCustomEvent("progress_text", { nodeId, text });
  else if (old) old.value = "";
}

/** The address of a file that an output names. @param {File} file */
export function viewAddress(file) {
  const { filename, subfolder, type } = file;
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** A setting of the editor. @param {string} name */
export function setting(name) {
  return /** @type {any} */ (app).extensionManager?.setting?.get(name);
}

/**
 * Remember a choice with the node, so that it is saved, copied and undone with it.
 * @param {any} node @param {string} name @param {any} value
 */
export function keep(node, name, value) {
  node.properties ??= {};
  node.properties[name] = value;
}

/**
 * Listen to a message of the server whose `node` is an execution id; the node is looked for each time, so that it may be
 * copied, undone or moved into a subgraph meanwhile. Null where it is not on the screen.
 * @param {string} event @param {(node: any, detail: any) => void} on
 */
export function onMessage(event, on) {
  /** @type {any} */ (api).addEventListener(event, (/** @type {any} */ message) => {
    const id = message.detail?.node ?? message.detail?.nodeId;
    on(id === null || id === undefined ? null : nodeOf(String(id)), message.detail);
  });
}

/** @param {any} node @param {PanelPlan} plan */
function attach(node, plan) {
  const root = document.createElement("div");
  root.className = `scenescope scenescope-${plan.name}`;
  root.dataset.scenescope = plan.name;
  root.style.minHeight = `${plan.height}px`;
  // Keys that mean something here must not move or delete nodes; to queue and to save are the editor's everywhere.
  for (const kind of ["keydown", "keyup", "copy", "paste"]) {
    root.addEventListener(kind, (event) => {
      const { ctrlKey, metaKey, key } = /** @type {KeyboardEvent} */ (event);
      if (!((ctrlKey || metaKey) && ["Enter", "s"].includes(key))) event.stopPropagation();
    });
  }
  const widget = node.addDOMWidget(`scenescope_${plan.name}`, `scenescope_${plan.name}`, root, {
    getMinHeight: () => parseFloat(root.style.minHeight) || plan.height,
    hideOnZoom: false,
    serialize: false,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  if (plan.whole) hideDoubles(node);
  const panel = plan.create(node, root);
  live.set(node, { plan, panel, shown: null });
  chain(node, "onExecuted", (/** @type {any} */ output) => {
    if (output?.[plan.key]?.[0]) show(node, output[plan.key][0]);
  });
  chain(node, "onConfigure", () => refresh(node));
  chain(node, "onRemoved", () => {
    live.delete(node);
    panel.dispose?.();
  });
  if (plan.size) node.setSize([Math.max(node.size[0], plan.size[0]), Math.max(node.size[1], plan.size[1])]);
  panel.show(null);
  requestAnimationFrame(() => refresh(node));
}

/**
 * Keep the editor from showing a node's pictures and texts beside a panel that has them: as widgets in the classic renderer
 * and for texts, by the flag for pictures in the Vue one. Pictures of a run that goes on have no switch there: the style
 * sheet hides them. The host's front end 1.49 names them so.
 * @param {any} node
 */
function hideDoubles(node) {
  node.hideOutputImages = true;
  const add = node.addCustomWidget;
  node.addCustomWidget = function (/** @type {any} */ widget) {
    if (DOUBLES.includes(widget.name)) {
      widget.hidden = true;
      widget.options = Object.assign(widget.options ?? {}, { hidden: true });
    }
    return add.call(this, widget);
  };
}

/** Look for something to show in what the editor and this page still know. @param {any} node */
function refresh(node) {
  const entry = live.get(node);
  if (!entry || entry.shown) return;
  const known = /** @type {any} */ (app).nodeOutputs?.[locatorOf(node)]?.[entry.plan.key]?.[0];
  const output = known ?? remembered.get(`${entry.plan.name} ${node.properties?.[MARK]}`);
  if (output) show(node, output);
}

/** @param {any} node @param {any} output */
function show(node, output) {
  const entry = live.get(node);
  if (!entry || JSON.stringify(entry.shown) === JSON.stringify(output)) return;
  entry.shown = output;
  node.properties ??= {};
  const mark = node.properties[MARK];
  const shared = [...live.keys()].some((other) => other !== node && other.properties?.[MARK] === mark);
  const moved = remembered.get(`${entry.plan.name} ${mark}`) !== output;
  if (!mark || (shared && moved)) node.properties[MARK] = Math.random().toString(36).slice(2, 10);
  remembered.set(`${entry.plan.name} ${node.properties[MARK]}`, output);
  if (entry.plan.file) noteFile(node, entry.plan.file(output));
  entry.panel.show(output);
}

/**
 * After a reload of the page the editor has no outputs, and after a lost connection perhaps old ones: take them from the
 * server's history of this workflow, or from a file where the last run left nothing there.
 * @param {PanelPlan} plan @param {boolean} [anew]  Whether nodes that show something are looked at too.
 */
async function restore(plan, anew = false) {
  const wanted = () => [...live].filter(([node, entry]) => entry.plan === plan && (anew || !entry.shown) && node.graph);
  if (!anew) wanted().forEach(([node]) => refresh(node));
  if (!wanted().length) return;
  const going = await running();
  const entries = (await history()).reverse();
  for (const [node, entry] of wanted()) {
    if (anew && going.has(node)) continue; // its next message is on its way
    const known = lastOutput(node, entry.plan, entries) ?? (await readFile(node, plan)) ?? entry.shown;
    const output = known && !going.has(node) && plan.ended ? plan.ended(known) : known;
    if (output && (anew || !entry.shown)) show(node, output);
  }
}

/**
 * What a node's last run returned, null where that is not known; with a file, an older run's output is not its.
 * @param {any} node @param {PanelPlan} plan @param {any[]} entries  of the history, newest first
 */
function lastOutput(node, plan, entries) {
  for (const { prompt, outputs } of entries) {
    const id = idIn(node, prompt);
    const output = id === undefined ? null : outputs?.[id]?.[plan.key]?.[0];
    if (output || (id !== undefined && plan.file)) return output ?? null;
  }
  return null;
}

/** A node's id in a prompt of this workflow, as the queue and the history hold it. @param {any} node @param {any} prompt */
function idIn(node, prompt) {
  if (prompt?.[3]?.extra_pnginfo?.workflow?.id !== workflowId()) return undefined;
  return Object.keys(prompt[2]).find((id) => prompt[2][id].class_type === node.comfyClass && nodeOf(id) === node);
}

/** The nodes with a panel whose prompt is running. @returns {Promise<Set<any>>} */
async function running() {
  const { queue_running: prompts = [] } = (await fetchJson("/queue")) ?? {};
  return new Set([...live.keys()].filter((node) => prompts.some((/** @type {any} */ prompt) => idIn(node, prompt))));
}

/** Call something with the nodes whose prompt is running when a lost connection is back. @param {(going: Set<any>) => void} then */
export function onReconnected(then) {
  /** @type {any} */ (api).addEventListener("reconnected", async () => then(await running()));
}

const FILES = "SceneScope.files";
const MOST_FILES = 200;

/** Remember in the browser which file shows a node. @param {any} node @param {File} file */
function noteFile(node, file) {
  const known = files();
  const key = `${workflowId()} ${locatorOf(node)}`;
  if (JSON.stringify(known[key]) === JSON.stringify(file)) return;
  delete known[key]; // what is put in anew comes last, so the oldest go first
  known[key] = file;
  localStorage.setItem(FILES, JSON.stringify(Object.fromEntries(Object.entries(known).slice(-MOST_FILES))));
}

/** @returns {Record<string, File>} */
function files() {
  return JSON.parse(localStorage.getItem(FILES) ?? "{}");
}

/** @param {any} node @param {PanelPlan} plan @returns {Promise<any>} */
async function readFile(node, plan) {
  const file = plan.file && files()[`${workflowId()} ${locatorOf(node)}`];
  return file ? fetchJson(`/view?${new URLSearchParams({ ...file })}`) : null;
}

/** What the server answers; null without a connection, and where there is nothing. @param {string} path @returns {Promise<any>} */
function fetchJson(path) {
  return api
    .fetchApi(path, { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : null))
    .catch(() => null);
}

function workflowId() {
  return /** @type {any} */ (app).rootGraph?.id ?? /** @type {any} */ (app).graph?.id;
}

/** @type {{at: number, entries: Promise<any[]>} | null} */
let asked = null;

/** The server's last runs, oldest first; several panels ask at once and share the answer. @returns {Promise<any[]>} */
async function history() {
  if (!asked || performance.now() - asked.at > 2000) {
    asked = { at: performance.now(), entries: fetchJson("/history?max_items=24").then((found) => Object.values(found ?? {})) };
  }
  return [...(await asked.entries)];
}

/** The node that an execution id such as `5:7` means. @param {string} id @returns {any} */
function nodeOf(id) {
  /** @type {any} */
  let graph = /** @type {any} */ (app).rootGraph ?? app.graph;
  let node = null;
  for (const part of id.split(":")) {
    node = graph?.nodes?.find((/** @type {any} */ one) => String(one.id) === part) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

/** How the editor names a node's outputs: its id, or `<subgraph>:<id>`. @param {any} node */
function locatorOf(node) {
  return node.graph && node.graph.isRootGraph === false ? `${node.graph.id}:${node.id}` : String(node.id);
}

/** Call something after a node's own handler. @param {any} node @param {string} name @param {(...args: any[]) => void} then */
export function chain(node, name, then) {
  const before = node[name];
  node[name] = function (/** @type {any[]} */ ...args) {
    const result = before?.apply(this, args);
    then(...args);
    return result;
  };
}

/** Load a sheet of styles. @param {URL} address */
export function loadStyle(address) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = address.href;
  document.head.append(link);
}
