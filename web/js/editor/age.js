// @ts-check
/** What a panel says if its node failed, or shows something older than the last run. */
import { say } from "../shared/i18n.js";

/**
 * @param {HTMLElement} root  A panel's. @param {boolean} old  Whether what it shows is from an earlier run.
 * @param {string} message  Why its node failed, "" where another did.
 */
export function tellAge(root, old, message) {
  const text = [message, old ? say("The last run did not get here: this is from an earlier one.") : ""];
  const said = text.filter(Boolean).join("\n");
  if (!said) return;
  forgetAge(root);
  const note = document.createElement("p");
  note.className = "ss-old-note";
  note.setAttribute("role", "alert");
  note.textContent = said;
  root.prepend(note);
  root.classList.toggle("ss-old", old);
}

/** The panel now shows the last run. @param {HTMLElement} root */
export function forgetAge(root) {
  root.querySelector(":scope > .ss-old-note")?.remove();
  root.classList.remove("ss-old");
}
