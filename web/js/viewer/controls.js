// @ts-check
/** The viewer's controls: step, source, head, prompt, picture, and how to draw. */
import { COLOURS } from "../shared/colour.js";
import { button, choice, element, slider } from "../shared/dom.js";
import { say } from "../shared/i18n.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Choices} Choices */

/** @type {Record<string, string>} */
const UNITS = { phrases: "phrases", words: "words", pieces: "tokens" };
/** @type {Record<string, string>} */
const SCALES = { shown: "words shown", words: "all words", own: "each its own", share: "0 to 1" };

export class Controls {
  /**
   * @param {(changes: Partial<Choices>) => void} choose
   * @param {{save: () => void, fill: () => void}} on  To save what is shown; to fill the screen with it.
   */
  constructor(choose, on) {
    this.step = slider(say("Step; 0 is the mean"), [0, 0, 1], (step) => choose({ step }));
    this.mean = button(say("mean"), say("Average all steps"), () => choose({ step: 0 }));
    this.about = element("output", { class: "ss-about" });
    this.from = choice(say("Layers"), (from) => choose({ from }));
    this.head = choice(say("Head"), (head) => choose({ head: Number(head) }));
    this.entry = choice(say("Prompt"), (entry) => choose({ entry: Number(entry) }));
    this.image = choice(say("Picture"), (image) => choose({ image: Number(image) }));
    this.scale = choice(say("Scale"), (scale) => choose({ scale }));
    this.opacity = slider(say("Opacity"), [0, 1, 0.05], (opacity) => choose({ opacity }));
    this.colours = choice(say("Colours"), (colours) => choose({ colours }));
    this.unit = choice(say("Words as"), (unit) => choose({ unit: /** @type {any} */ (unit) }));
    this.more = button(say("more"), say("Layers, heads, scale and colours"), () => choose({ more: this.fold.hidden }), {
      class: "ss-button ss-more",
    });
    this.clear = button(say("unpin"), say("Unpin all words"), () => choose({ pins: [] }));
    this.png = button("PNG", say("Save what is shown as a picture"), on.save, { class: "ss-button ss-export" });
    this.wide = button(say("full"), say("Fill the screen; Escape returns"), on.fill, { class: "ss-button ss-fill" });
    const label = (/** @type {string} */ text) => element("span", { class: "ss-label", text });
    const fields = [this.from, this.head, this.entry, this.image, this.unit, this.scale, this.colours];
    const opacity = element("label", { class: "scenescope-field" }, [label(say("Opacity")), this.opacity]);
    this.fold = element("div", { class: "ss-row", hidden: true }, [...fields.map((part) => part.root), opacity]);
    const first = [label(say("Step")), this.mean, this.step, this.clear, this.more, this.png, this.wide];
    this.root = element("div", { class: "ss-controls" }, [
      element("div", { class: "ss-row" }, first),
      this.about,
      this.fold,
    ]);
  }

  /** Bring them to a model's state. @param {Model} model */
  fill(model) {
    const { choices } = model;
    this.step.max = String(model.steps.length);
    this.step.value = String(choices.step);
    this.step.setAttribute("aria-valuetext", model.describe());
    this.mean.setAttribute("aria-pressed", String(choices.step === 0));
    this.opacity.value = String(choices.opacity);
    this.fold.hidden = !choices.more;
    this.more.setAttribute("aria-expanded", String(choices.more));
    this.unit.fill(
      Object.entries(UNITS).map(([value, text]) => ({ value, text: say(text) })),
      choices.unit,
    );
    this.clear.hidden = !choices.pins.length;
    this.from.fill(sources(model), choices.from);
    this.head.fill(heads(model), String(choices.head));
    this.entry.fill(entries(model), String(choices.entry));
    this.image.fill(
      Array.from({ length: model.header.images }, (_, at) => ({ value: String(at), text: String(at + 1) })),
      String(choices.image),
    );
    this.scale.fill(
      Object.entries(SCALES).map(([value, text]) => ({ value, text: say(text) })),
      choices.scale,
    );
    this.colours.fill(
      COLOURS.map((value) => ({ value, text: say(value) })),
      choices.colours,
    );
  }
}

/** @param {Model} model */
function heads({ heads }) {
  if (!heads.length) return [];
  const each = heads.map((head) => ({ value: String(head), text: String(head) }));
  return [{ value: "-1", text: say("mean of heads") }, ...each];
}

/** @param {Model} model */
function entries({ header: { entries } }) {
  const several = entries.length !== new Set(entries.map((one) => one.branch)).size;
  return entries.map((one, at) => ({
    value: String(at),
    text: `${say(one.branch)}${several ? ` ${one.index}` : ""}`,
  }));
}

/** Which blocks can be averaged, or looked at alone. @param {Model} model */
function sources(model) {
  const { blocks } = model.entry;
  const grids = [...new Set(blocks.map((block) => block.recorded.join("x")))];
  const places = [...new Set(blocks.map((block) => block.place))];
  const count = (/** @type {(block: any) => boolean} */ test) => blocks.filter(test).length;
  return [
    { value: "all", text: say("all {n} blocks", { n: blocks.length }) },
    ...grids.map((grid) => ({
      value: `grid:${grid}`,
      text: `${grid.replace("x", "×")} (${count((b) => b.recorded.join("x") === grid)})`,
      group: say("by grid"),
    })),
    ...places.map((place) => ({
      value: `place:${place}`,
      text: `${say(place)} (${count((b) => b.place === place)})`,
      group: say("by place"),
    })),
    ...blocks.map((block) => ({
      value: `block:${block.name}`,
      text: `${block.name} · ${block.recorded.join("×")}`,
      group: say("one block"),
    })),
  ];
}
