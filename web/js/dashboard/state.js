// @ts-check
/** A training run's progress, in a sentence. */
import { say } from "../shared/i18n.js";

/** @param {any} told */
export function stateText(told) {
  if (!told) return say("Run the workflow: losses, maps and samples appear here.");
  const values = { step: told.step, steps: told.steps, phase: told.phase, message: told.message };
  if (told.status === "preparing") return say("Preparing …");
  if (told.status === "finished") return say("Finished: {steps} steps", values);
  if (told.status === "stopped") return say("Stopped at step {step} of {steps}. Queue again to resume.", values);
  const left = told.seconds_left === null ? "" : ` · ${timeText(told.seconds_left)}`;
  return say("Step {step} of {steps} · phase {phase} of 2", values) + left;
}

/** @param {number} seconds */
function timeText(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return say("{s} s left", { s: whole });
  if (whole < 3600) return say("{m} min {s} s left", { m: Math.floor(whole / 60), s: whole % 60 });
  return say("{h} h {m} min left", { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
}
