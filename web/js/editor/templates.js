// @ts-check
/**
 * The pack's templates in the order in which to learn them. The host (ComfyUI 0.33, app/custom_node_manager.py) lists
 * them as the disk happens to, and its front end 1.49 shows them so.
 */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

/** Looking, learning, acting; in each group, the simplest first. */
const ORDER = [
  "first_heatmap",
  "where_did_each_word_go.app",
  "record_any_sampler",
  "words_compared",
  "maps_to_masks_iou",
  "animation_over_steps",
  "ask_again",
  "compare_two_records",
  "self_attention",
  "hires_fix_two_runs",
  "shape_log",
  "learn_one_concept",
  "learn_one_thing_from_a_photo.app",
  "use_learned_things.app",
  "tokens_variations",
  "tokens_subsets",
  "learn_three_concepts_background",
  "background_extraction",
  "entangled_scene",
  "local_editing",
  "learn_resume_after_cancel",
  "core_nodes_only",
  "why_was_my_word_ignored.app",
  "doctor_finds_and_repairs",
  "steer_place_by_mask",
  "steer_place_by_box",
  "steer_keep_others",
  "region_by_word",
  "replay_swap_a_word",
  "replay_refine",
];

app.registerExtension({
  name: "SceneScope.templates",
  init() {
    const host = /** @type {any} */ (api);
    const ask = host.getWorkflowTemplates;
    host.getWorkflowTemplates = async function () {
      const found = await ask.call(this);
      found[packFolder()]?.sort((/** @type {string} */ one, /** @type {string} */ other) => place(one) - place(other));
      return found;
    };
  },
});

/** The pack's folder, whose name is the user's choice. */
function packFolder() {
  return decodeURIComponent(new URL("../..", import.meta.url).pathname.split("/").at(-2) ?? "");
}

/** @param {string} name */
function place(name) {
  const at = ORDER.indexOf(name);
  return at < 0 ? ORDER.length : at;
}
