// @ts-check
/** Block Shapes: the U-Net as a U to walk through, the shapes of each block, and the way to its maps. */

import { keep, loadStyle } from "../editor/nodes.js";
import { registerPanel } from "../editor/panel.js";
import { button, element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { Viewer } from "../viewer/viewer.js";
import { layOut, neighbour } from "./layout.js";
import { drawTable, drawU, headline } from "./parts.js";
import "./zh.js";

const CHOICE = "scenescope_block";

loadStyle(new URL("shapes.css", import.meta.url));
registerPanel({
  name: "shapes",
  nodes: ["SceneScope_BlockShapes"],
  key: "scenescope_shapes",
  height: 640,
  size: [620, 0],
  create: (node, root) => new ShapeLog(node, root),
});

class ShapeLog {
  /** @param {any} node @param {HTMLElement} root */
  constructor(node, root) {
    this.node = node;
    this.root = root;
    /** @type {import("./layout.js").Shapes | null} */
    this.shapes = null;
    /** @type {import("./layout.js").Card[]} */
    this.cards = [];
    /** @type {Viewer | null} */
    this.viewer = null;
    this.head = element("div", { class: "ss-shape-head" });
    this.u = element("div", {
      class: "ss-u",
      role: "group",
      "aria-label": say("The U-Net: arrow keys move from block to block, Enter opens its maps"),
    });
    this.table = element("div", { class: "ss-shape-row" });
    this.tip = element("p", { class: "ss-status" });
    this.whole = element("div", { class: "ss-shapes" }, [this.head, this.u, this.table, this.tip]);
    this.name = element("b", { "aria-live": "polite" });
    this.back = button(say("← U-Net"), say("Back to the U-Net"), () => this.close());
    const steps = [
      button("‹", say("Previous block"), () => this.step(-1)),
      button("›", say("Next block"), () => this.step(1)),
    ];
    this.stage = element("div", { class: "ss-inner" });
    this.maps = element("div", { class: "ss-shapes", hidden: true }, [
      element("div", { class: "ss-row" }, [this.back, ...steps, this.name]),
      this.stage,
    ]);
    this.status = element("p", { class: "ss-status", role: "status" });
    root.append(this.whole, this.maps, this.status);
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", say("Block shapes"));
    this.listen();
  }

  dispose() {
    this.viewer?.dispose();
  }

  /** @param {any} output */
  show(output) {
    this.shapes = output;
    this.tell(output ? "" : say("Run the workflow: the U-Net appears here."));
    this.whole.hidden = !output;
    this.maps.hidden = true;
    if (!output) return;
    this.cards = layOut(output.blocks).cards;
    this.head.replaceChildren(...headline(output));
    drawU(this.u, output);
    const kept = this.node.properties?.[CHOICE] ?? {};
    const card =
      this.cards.find((one) => one.blocks.some((block) => block.block === kept.name)) ??
      this.cards.find((one) => one.blocks[0]?.read_by_attention_loss);
    this.select(card ?? this.cards.find((one) => one.blocks.length));
    this.hint();
    if (kept.open && this.canOpen(kept.name)) void this.open(kept.name);
  }

  /** @param {string} text */
  tell(text) {
    this.status.textContent = text;
    this.status.hidden = !text;
  }

  /** What a click does. */
  hint() {
    const { view, patches } = /** @type {import("./layout.js").Shapes} */ (this.shapes);
    const click = view
      ? say("Click a block, or press Enter, to see its maps.")
      : say("A MODEL gives shapes but no maps. Connect ATTENTION_MAPS, then click a block to open its maps.");
    const left = patches.length
      ? ` ${say("Patches of other nodes are not followed: {names}.", { names: patches.join(", ") })}`
      : "";
    this.tip.textContent = click + left;
  }

  /** @param {string} name */
  canOpen(name) {
    return Boolean(this.shapes?.view) && Boolean(this.shapes?.recorded.includes(name));
  }

  /** Make a card the one that the keys start from. @param {import("./layout.js").Card | undefined} card */
  select(card) {
    this.chosen = card;
    for (const button of this.buttons()) button.tabIndex = button.dataset.block === card?.blocks[0].block ? 0 : -1;
    this.look(card);
  }

  /** Show a card's row of the table. @param {import("./layout.js").Card | undefined} card */
  look(card) {
    if (!card) return;
    for (const button of this.buttons()) button.classList.toggle("live", button.dataset.block === card.blocks[0].block);
    drawTable(this.table, card, /** @type {any} */ (this.shapes));
  }

  /** @returns {HTMLElement[]} */
  buttons() {
    return [...this.u.querySelectorAll("button")];
  }

  /** @param {EventTarget | null} target */
  cardOf(target) {
    const name = /** @type {HTMLElement | null} */ (target)?.closest?.("button")?.dataset.block;
    return name === undefined ? undefined : this.cards.find((card) => card.blocks[0]?.block === name);
  }

  listen() {
    this.u.addEventListener("pointerover", (event) => this.look(this.cardOf(event.target) ?? this.chosen));
    this.u.addEventListener("pointerleave", () => this.look(this.chosen));
    this.u.addEventListener("focusin", (event) => this.select(this.cardOf(event.target) ?? this.chosen));
    this.u.addEventListener("click", (event) => {
      const card = this.cardOf(event.target);
      if (!card) return;
      this.select(card);
      const name = card.blocks.find((block) => this.canOpen(block.block))?.block;
      keep(this.node, CHOICE, { name: card.blocks[0].block, open: false });
      if (name) void this.open(name);
      else if (this.shapes?.view)
        this.tip.textContent = say("No cross-attention of {name} was recorded.", { name: card.blocks[0].block });
    });
    this.u.addEventListener("keydown", (event) => {
      const to = this.chosen && neighbour(this.cards, this.chosen, event.key);
      if (!to) return;
      event.preventDefault();
      this.buttons()
        .find((button) => button.dataset.block === to.blocks[0].block)
        ?.focus();
    });
    this.maps.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && event.target === this.back && this.close(),
    );
  }

  /** Show a block's maps in the viewer. @param {string} name */
  async open(name) {
    const { shapes } = this;
    if (!shapes) return;
    keep(this.node, CHOICE, { name, open: true });
    this.whole.hidden = true;
    this.maps.hidden = false;
    const block = shapes.blocks.find((one) => one.block === name);
    this.name.textContent = block
      ? say("{name}: attention maps on {grid}", { name, grid: block.features_in.slice(2).join("×") })
      : name;
    if (!this.viewer) this.viewer = new Viewer(this.node, this.stage);
    if (this.viewer.output !== shapes.view) await this.viewer.show(shapes.view);
    if (this.shapes === shapes) this.viewer.choose({ from: `block:${name}` });
  }

  close() {
    const name = this.node.properties?.[CHOICE]?.name;
    keep(this.node, CHOICE, { name, open: false });
    this.maps.hidden = true;
    this.whole.hidden = false;
    this.select(this.cards.find((card) => card.blocks.some((block) => block.block === name)) ?? this.chosen);
    this.buttons()
      .find((button) => button.tabIndex === 0)
      ?.focus();
  }

  /** To the maps of the block before or after. @param {number} by */
  step(by) {
    const names = this.shapes?.recorded ?? [];
    const at = names.indexOf(this.node.properties?.[CHOICE]?.name);
    void this.open(names[(at + by + names.length) % names.length]);
  }
}
