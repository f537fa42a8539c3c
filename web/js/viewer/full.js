// @ts-check
/** A panel's body on the whole screen, and back in its node. */
import { loadStyle } from "../editor/nodes.js";
import { button, element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";

loadStyle(new URL("full.css", import.meta.url));

export class FullScreen {
  /** @param {HTMLElement} body @param {HTMLElement} home  Where it stands otherwise. @param {string} name */
  constructor(body, home, name) {
    this.body = body;
    this.home = home;
    const back = button("×", say("Back to the node"), () => this.close(), { class: "ss-button ss-close" });
    this.dialog = element("dialog", { class: "scenescope ss-full", "aria-label": name }, [back]);
    this.dialog.addEventListener("close", () => this.#back());
    // Keys that mean something here must not reach the graph behind.
    for (const kind of ["keydown", "keyup", "copy", "paste"]) {
      this.dialog.addEventListener(kind, (event) => event.stopPropagation());
    }
  }

  open() {
    document.body.append(this.dialog);
    this.dialog.append(this.body);
    this.dialog.showModal();
  }

  close() {
    this.dialog.close();
  }

  #back() {
    this.home.prepend(this.body);
    this.dialog.remove();
  }
}
