// @ts-check
/**
 * What the pack's apps ask, in the editor's language, whichever they were saved in. An app's form calls an input as its
 * workflow does, and the host's front end 1.49 translates that nowhere. Titles of templates and blueprints have no way
 * at all: those of a pack are the names of their files (`getTemplateTitle`, `enhancedTemplates`;
 * `loadInstalledBlueprints`, which has read them before any extension is loaded).
 */
import { app } from "../../../../scripts/app.js";
import { sayAgain } from "../shared/i18n.js";
import "./zh.js";

app.registerExtension({
  name: "SceneScope.apps",
  beforeConfigureGraph(/** @type {any} */ graph) {
    const own = graph.nodes?.some((/** @type {any} */ node) => String(node.type).startsWith("SceneScope_"));
    if (!own || !graph.extra?.linearData) return;
    for (const node of graph.nodes) {
      if (node.title) node.title = sayAgain(node.title, true);
      for (const slot of node.inputs ?? []) if (slot.label) slot.label = sayAgain(slot.label, false);
    }
  },
});
