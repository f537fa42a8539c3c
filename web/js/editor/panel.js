// @ts-check
/**
 * The one place that knows the editor. A panel is a part of a node that shows what the node's last run returned;
 * `registerPanel` keeps it alive through everything that the editor does to nodes.
 *
 * Every .js file below web/ is imported by the host, in any order: a module may define things, and may register panels,
 * but does nothing else when it is loaded.
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { forgetAge, tellAge } from "./age.js";
import { endingOf, onEnding, onStart } from "./endings.js";
import { noteFile, readFile } from "./kept.js";
import { chain, everyNode, idIn, loadStyle, locatorOf, nodeOf } from "./nodes.js";
import { isElsewhere, isStray, noteRunning, noteStray } from "./runs.js";
import { fetchJson, forgetHistory, history, NODE_TEXT, onMessage } from "./server.js";

/**
 * @typedef {object} Panel
 * @property {(output: any) => void} show  Show what the last run returned under the plan's key; null where there is
 * none.
 * @property {() => void} [again]  The connection is back: try again to load what could not be loaded.
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
 * @property {(output: any) => import("./nodes.js").File} [file]  A file with the same output, for runs of which the
 * history holds nothing.
 * @property {(output: any) => any} [ended]  What is left of a message when its run goes on no more and nothing newer
 * is known.
 * @property {(node: any, root: HTMLElement) => Panel} create  Fill the root.
 */

/**
 * @typedef {object} Entry  A node that has a panel.
 * @property {PanelPlan} plan @property {Panel} panel @property {HTMLElement} root
 * @property {any} shown @property {boolean} fresh  whether that came from the run that was started last
 */
/** @type {Map<any, Entry>} */
const live = new Map();
/** What was shown last, by the mark in a node's properties: a copy, or a node that undo makes again, finds it here. */
const remembered = new Map();
/** How old that is, where it is not the last run's. @type {Map<string, {old: boolean, message: string}>} */
const ages = new Map();
const MARK = "scenescope_mark";
const DOUBLES = ["$$canvas-image-preview", NODE_TEXT];

loadStyle(new URL("panel.css", import.meta.url));

/**
 * Give nodes a panel.
 * @param {PanelPlan} plan
 */
export function registerPanel(plan) {
  if (plan.event) onMessage(plan.event, (node, detail, late) => take(node, plan, detail, late));
  // What a run returned while its workflow was not open; otherwise `onExecuted` has it.
  onMessage("executed", (_node, { node, display_node: shown, output }, late) => {
    const own = late && output?.[plan.key]?.[0];
    if (own) take(nodeOf(String(shown ?? node)), plan, own, late);
  });
  /** @type {any} */ (api).addEventListener("reconnected", () => {
    forgetHistory();
    for (const entry of live.values()) if (entry.plan === plan) entry.panel.again?.();
    void restore(plan, true);
  });
  app.registerExtension({
    name: `SceneScope.${plan.name}`,
    nodeCreated(/** @type {any} */ node) {
      if (plan.nodes.includes(node.comfyClass)) attach(node, plan);
    },
    onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
      for (const [node, entry] of live) {
        const output = entry.plan === plan && given(outputs, node, plan);
        if (output) show(node, output, false);
      }
    },
    afterConfigureGraph() {
      // When the host clears a graph, it calls no `onRemoved` on the nodes of its subgraphs.
      const there = everyNode();
      for (const node of live.keys()) if (!there.has(node)) end(node);
      for (const [node, entry] of live) if (entry.plan === plan) takePlace(node, entry);
      if ([...live.values()].some((entry) => entry.plan === plan)) void restore(plan);
    },
  });
}

/** What the host's outputs have for a node. @param {any} outputs @param {any} node @param {PanelPlan} plan */
function given(outputs, node, plan) {
  const output = outputs?.[locatorOf(node)]?.[plan.key]?.[0];
  return output && !isStray(output) ? output : null;
}

/**
 * Give a node its panel, which lives as long as the node is in a graph. The host also makes copies that it never adds
 * to one; no `onRemoved` is called on those.
 * @param {any} node @param {PanelPlan} plan
 */
function attach(node, plan) {
  const root = document.createElement("div");
  root.className = `scenescope scenescope-${plan.name}`;
  root.dataset.scenescope = plan.name;
  root.style.minHeight = `${plan.height}px`;
  // Keys that mean something here must not move or delete nodes; to queue and to save are the editor's everywhere.
  for (const kind of ["keydown", "keyup", "copy", "paste"]) {
    root.addEventListener(kind, (event) => {
      const { ctrlKey, metaKey, key } = /** @type {KeyboardEvent} */ (event);
      if (!((ctrlKey || metaKey) && ["enter", "s"].includes(key.toLowerCase()))) event.stopPropagation();
    });
  }
  const widget = node.addDOMWidget(`scenescope_${plan.name}`, `scenescope_${plan.name}`, root, {
    getMinHeight: () => (parseFloat(root.style.minHeight) || plan.height) + edges(root, widget),
    hideOnZoom: false,
    hideInPanel: true, // the editor's own list of a node's settings would take the element out of the node
    serialize: false,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  if (plan.whole) hideDoubles(node);
  chain(node, "onAdded", () => begin(node, plan, root));
  chain(node, "onExecuted", (/** @type {any} */ output) => {
    const own = output?.[plan.key]?.[0];
    if (own && isElsewhere()) noteStray(own);
    else if (own) show(node, own);
  });
  chain(node, "onConfigure", () => refresh(node));
  chain(node, "onRemoved", () => end(node));
  if (plan.size) node.setSize([Math.max(node.size[0], plan.size[0]), Math.max(node.size[1], plan.size[1])]);
}

/** @param {any} node @param {PanelPlan} plan @param {HTMLElement} root */
function begin(node, plan, root) {
  end(node);
  const panel = plan.create(node, root);
  live.set(node, { plan, panel, root, shown: null, fresh: false });
  panel.show(null);
  requestAnimationFrame(() => refresh(node));
}

/**
 * Put a panel where the host keeps the one before: in Nodes 2.0 its part of a node stays when undo makes the node
 * again, with the old panel in it.
 * @param {any} node @param {Entry} entry
 */
function takePlace(node, { plan, root }) {
  if (root.isConnected) return;
  const old = document.querySelector(`[data-node-id="${node.id}"] [data-scenescope="${plan.name}"]`);
  if (![...live.values()].some((other) => other.root === old)) old?.replaceWith(root);
}

/** @param {any} node */
function end(node) {
  const entry = live.get(node);
  live.delete(node);
  entry?.panel.dispose?.();
  entry?.root.replaceChildren();
}

/**
 * What the classic renderer takes off a widget's height, above and below; its box would otherwise be lower than the
 * panel in it, which then lies over what follows and loses its last row where the editor clips the box.
 * @param {HTMLElement} root @param {any} widget
 */
function edges(root, widget) {
  return root.closest(".dom-widget") ? 2 * (widget.margin ?? 0) : 0;
}

/**
 * Keep the editor from showing a node's pictures and texts beside a panel that has them: as widgets in the classic
 * renderer and for texts, by the flag for pictures in the Vue one. Pictures of a run that goes on have no switch there:
 * the style sheet hides them. The host's front end 1.49 names them so.
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
  const known = given(/** @type {any} */ (app).nodeOutputs, node, entry.plan);
  const output = known ?? remembered.get(keyOf(node, entry.plan));
  if (!output) return;
  const told = ages.get(keyOf(node, entry.plan));
  show(node, output, false);
  if (told) age(node, entry, told);
}

/**
 * Show what a message brings. If it has waited, the host still keeps with the workflow what the node had before, and
 * would bring that back.
 * @param {any} node @param {PanelPlan} plan @param {any} output @param {boolean} late
 */
function take(node, plan, output, late) {
  const entry = live.get(node);
  if (entry?.plan !== plan) return;
  if (late && entry.shown) noteStray(entry.shown);
  show(node, output);
}

/** @param {any} node @param {any} output @param {boolean} [fresh]  Whether the run that was started last gave it. */
function show(node, output, fresh = true) {
  const entry = live.get(node);
  if (!entry) return;
  entry.fresh ||= fresh;
  if (JSON.stringify(entry.shown) === JSON.stringify(output)) return;
  entry.shown = output;
  age(node, entry, null);
  node.properties ??= {};
  const mark = node.properties[MARK];
  const shared = [...live.keys()].some((other) => other !== node && other.properties?.[MARK] === mark);
  const moved = remembered.get(keyOf(node, entry.plan)) !== output;
  if (!mark || (shared && moved)) node.properties[MARK] = Math.random().toString(36).slice(2, 10);
  remembered.set(keyOf(node, entry.plan), output);
  if (entry.plan.file) noteFile(node, entry.plan.file(output));
  entry.panel.show(output);
}

/**
 * After a reload of the page the editor has no outputs, and after a lost connection perhaps old ones: take them from
 * the server's history of this workflow, or from a file where the last run left nothing there.
 * @param {PanelPlan} plan @param {boolean} [every]  Whether to include nodes that already show something.
 */
async function restore(plan, every = false) {
  const wanted = () =>
    [...live].filter(([node, entry]) => entry.plan === plan && (every || !entry.shown) && node.graph);
  if (!every) wanted().forEach(([node]) => refresh(node));
  if (!wanted().length) return;
  const going = await running();
  const entries = (await history()).reverse();
  for (const [node, entry] of wanted()) {
    if (every && going.has(node)) continue; // its next message is on its way
    const last = lastOutput(node, entry.plan, entries);
    const known = last.output ?? (plan.file && (await readFile(node))) ?? entry.shown;
    const output = known && !going.has(node) && plan.ended ? plan.ended(known) : known;
    if (entry.shown && !every) continue;
    if (output) show(node, output, false);
    if (!going.has(node) && (output || last.message)) age(node, entry, last);
  }
}

/**
 * What a node's last run returned, null where that is not known; with a file, an older run's output is not its.
 * It is old where a later run ended before it came to the node; the message is why the node failed in its last one.
 * @param {any} node @param {PanelPlan} plan @param {any[]} entries  of the history, newest first
 */
function lastOutput(node, plan, entries) {
  const last = { output: null, old: false, message: "" };
  const own = entries.map(({ prompt, ...entry }) => ({ ...entry, id: idIn(node, prompt) }));
  for (const [at, { id, outputs, status }] of own.filter((entry) => entry.id !== undefined).entries()) {
    const { missed, there, message } = endingOf(status, String(id));
    if (at === 0) last.message = message;
    last.output = outputs?.[String(id)]?.[plan.key]?.[0] ?? null;
    if (last.output) break;
    last.old ||= missed && !(there && plan.file); // a file has what was done before the end
    if (plan.file) break;
  }
  return last;
}

/** The nodes with a panel whose prompt is running. @returns {Promise<Set<any>>} */
async function running() {
  const { queue_running: prompts = [] } = (await fetchJson("/queue")) ?? {};
  noteRunning(prompts);
  return new Set([...live.keys()].filter((node) => prompts.some((/** @type {any} */ prompt) => idIn(node, prompt))));
}

/**
 * Call something with the nodes whose prompt is running when a lost connection is back.
 * @param {(going: Set<any>) => void} then
 */
export function onReconnected(then) {
  /** @type {any} */ (api).addEventListener("reconnected", async () => then(await running()));
}

onStart(() => {
  for (const entry of live.values()) entry.fresh = false;
});
onEnding(({ reached, missed, culprit, message }) => {
  for (const [node, entry] of live) {
    if (reached(node)) age(node, entry, null);
    else if (missed(node))
      age(node, entry, { old: Boolean(entry.shown) && !entry.fresh, message: node === culprit ? message : "" });
  }
});

/**
 * Say how old a panel's contents are, and keep that for a node that is made again. @param {any} node
 * @param {Entry} entry @param {{old: boolean, message: string} | null} told  null: it is the last run's.
 */
function age(node, { plan, root }, told) {
  const key = keyOf(node, plan);
  if (!told) {
    ages.delete(key);
    forgetAge(root);
  } else if (told.old || told.message) {
    ages.set(key, told);
    tellAge(root, told.old, told.message);
  }
}

/** @param {any} node @param {PanelPlan} plan */
function keyOf(node, plan) {
  return `${plan.name} ${node.properties?.[MARK]}`;
}
