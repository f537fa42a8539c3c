// @ts-check
/** Nodes as the editor holds them: how they are named and found, what is remembered with them. */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

/** @typedef {{filename: string, subfolder: string, type: string}} File */

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

/** The node that an execution id such as `5:7` means. @param {string} id @returns {any} */
export function nodeOf(id) {
  /** @type {any} */
  let graph = /** @type {any} */ (app).rootGraph ?? app.graph;
  let node = null;
  for (const part of id.split(":")) {
    node = graph?.nodes?.find((/** @type {any} */ one) => String(one.id) === part) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

/**
 * All nodes of the workflow, those inside of subgraphs too, with their execution ids.
 * @param {any} [graph] @param {string} [before]  Of the ids in it. @returns {{node: any, id: string}[]}
 */
export function allNodes(graph = /** @type {any} */ (app).rootGraph ?? app.graph, before = "") {
  return (graph?.nodes ?? []).flatMap((/** @type {any} */ node) => {
    const id = `${before}${node.id}`;
    return [{ node, id }, ...(node.subgraph ? allNodes(node.subgraph, `${id}:`) : [])];
  });
}

/** All nodes, including those of subgraphs that no node uses. @returns {Set<any>} */
export function everyNode() {
  const root = /** @type {any} */ (app).rootGraph ?? app.graph;
  return new Set([root, ...(root?.subgraphs?.values() ?? [])].flatMap((graph) => graph?.nodes ?? []));
}

/** How the editor names a node's outputs: its id, or `<subgraph>:<id>`. @param {any} node */
export function locatorOf(node) {
  return node.graph && node.graph.isRootGraph === false ? `${node.graph.id}:${node.id}` : String(node.id);
}

/** The id of the workflow that is open. */
export function workflowId() {
  return /** @type {any} */ (app).rootGraph?.id ?? /** @type {any} */ (app).graph?.id;
}

/**
 * Call something after a node's own handler. @param {any} node @param {string} name
 * @param {(...args: any[]) => void} then
 */
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

/**
 * A node's id in a prompt of this workflow, as the queue and the history hold it. @param {any} node
 * @param {any} prompt
 */
export function idIn(node, prompt) {
  if (prompt?.[3]?.extra_pnginfo?.workflow?.id !== workflowId()) return undefined;
  return Object.keys(prompt[2]).find((id) => prompt[2][id].class_type === node.comfyClass && nodeOf(id) === node);
}
