// @ts-check
/**
 * The training dashboard: losses, IoUs, each concept's map beside its mask, and sample pictures, while a run goes on
 * and after.
 */

import { loadStyle } from "../editor/nodes.js";
import { registerPanel } from "../editor/panel.js";
import { onMessage } from "../editor/server.js";
import { eachFrame, element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { drawChart, figure, stepAt } from "./chart.js";
import { inksOn } from "./inks.js";
import { conceptFigures, sampleSets } from "./pictures.js";
import { stateText } from "./state.js";
import "./zh.js";

const LOSSES = ["masked", "attention", "prior"];

/** @typedef {import("./pictures.js").Concept} Concept */
/** @typedef {import("../editor/nodes.js").File} File */

/** @type {WeakMap<any, Dashboard>} */
const boards = new WeakMap();

loadStyle(new URL("dashboard.css", import.meta.url));

registerPanel({
  name: "training",
  nodes: ["SceneScope_TrainConcepts"],
  key: "scenescope_training",
  event: "scenescope.training",
  height: 500,
  size: [460, 0],
  whole: true,
  file: (told) => ({ filename: "dashboard.json", subfolder: `training/${told.run}`, type: "output" }),
  ended: (told) => (told.status === "finished" ? told : { ...told, status: "stopped" }),
  create(node, root) {
    const board = new Dashboard(root);
    boards.set(node, board);
    return board;
  },
});

onMessage("progress_text", (node, { text }) => boards.get(node)?.say(text));

class Dashboard {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {any} */
    this.told = null;
    this.cursor = -1;
    this.inks = inksOn(root);
    /**
     * @type {{canvas: HTMLCanvasElement, value: HTMLElement, lines: import("./chart.js").Line[], logarithmic:
     * boolean}[]}
     */
    this.plots = [];
    this.state = element("p", { class: "ss-state", role: "status" });
    this.caution = element("p", { class: "ss-advice", role: "note" });
    this.done = element("div", { class: "ss-done" });
    this.bar = element("div", { class: "ss-progress", role: "progressbar", "aria-valuemin": 0 }, [this.done]);
    this.charts = element("div", {
      class: "ss-charts",
      tabindex: 0,
      role: "group",
      "aria-label": say("Curves: left and right move from step to step"),
    });
    this.concepts = element("div", { class: "ss-concepts", role: "group", "aria-label": say("Maps and masks") });
    this.samples = element("div", {
      class: "ss-samples",
      role: "group",
      "aria-label": say("Sample pictures"),
      tabindex: 0,
    });
    this.body = element("div", { class: "ss-dash", hidden: true }, [
      this.bar,
      this.charts,
      this.concepts,
      this.samples,
    ]);
    this.spoken = element("p", { class: "ss-spoken", "aria-live": "polite" });
    root.append(this.state, this.caution, this.body, this.spoken);
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", say("Training dashboard"));
    this.refresh = eachFrame(() => this.draw());
    this.sized = new ResizeObserver(() => this.refresh());
    this.sized.observe(this.charts);
    this.themed = new MutationObserver(() => this.show(this.told));
    this.themed.observe(document.documentElement, { attributes: true, attributeFilter: ["style", "class"] });
    this.charts.addEventListener("pointermove", (event) => this.point(event));
    this.charts.addEventListener("pointerleave", () => this.look(-1));
    this.charts.addEventListener("keydown", (event) => this.walk(event));
  }

  dispose() {
    this.sized.disconnect();
    this.themed.disconnect();
    this.refresh.cancel();
  }

  /** @param {any} told */
  show(told) {
    this.told = told;
    this.inks = inksOn(this.root);
    this.body.hidden = !told?.curves;
    this.state.className = `ss-state ss-${told?.status ?? "none"}`;
    this.state.textContent = stateText(told);
    this.caution.textContent = told?.caution ?? "";
    if (!told) return;
    this.state.title = told.message;
    this.progress();
    this.rebuild();
    this.concepts.replaceChildren(...conceptFigures(told, this.inks));
    this.concepts.hidden = !told.concepts?.length;
    this.fillSamples();
    this.refresh();
  }

  /**
   * What the server does between two steps; it escapes its lines, since the editor takes them for HTML.
   * @param {string} text
   */
  say(text) {
    const plain = text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    if (!this.told || !plain.startsWith(this.told.message)) this.state.textContent = plain;
  }

  progress() {
    const { step, steps, phase1_steps: phase1 } = this.told;
    this.bar.setAttribute("aria-valuemax", String(steps));
    this.bar.setAttribute("aria-valuenow", String(step));
    this.bar.setAttribute("aria-label", this.state.textContent ?? "");
    this.done.style.width = `${(100 * step) / Math.max(1, steps)}%`;
    this.bar.style.setProperty("--boundary", `${(100 * phase1) / Math.max(1, steps)}%`);
    this.bar.title = say("Phase 1, the tokens: {a} steps. Phase 2, the model with them: {b} steps.", {
      a: phase1,
      b: steps - phase1,
    });
  }

  /** One chart for each loss that there is, and one for the IoUs; rebuilt only if others are needed. */
  rebuild() {
    const { curves, concepts } = this.told;
    const handles = (concepts ?? []).map((/** @type {Concept} */ concept) => concept.handle);
    const kinds = LOSSES.filter(
      (name) => name !== "prior" || curves.prior.some((/** @type {any} */ value) => value !== null),
    );
    const line = (/** @type {string} */ name, /** @type {string} */ ink, /** @type {any} */ from) => ({
      name,
      ink,
      smooth: from(curves) ?? [],
      raw: from(curves.raw ?? {}) ?? [],
    });
    const wanted = kinds.map((name) => ({
      name,
      lines: [line(name, this.inks[LOSSES.indexOf(name)], (/** @type {any} */ part) => part[name])],
      logarithmic: true,
    }));
    const ious = handles.map((/** @type {string} */ handle, /** @type {number} */ at) =>
      line(handle, this.inks[at % this.inks.length], (/** @type {any} */ part) => part.ious?.[handle]),
    );
    wanted.push({ name: "IoU", lines: ious, logarithmic: false });
    const names = wanted.map(({ name }) => name).join();
    if (this.charts.dataset.names !== names) {
      this.charts.dataset.names = names;
      this.plots = wanted.map(({ name, lines, logarithmic }) => {
        const canvas = element("canvas", { "aria-hidden": "true" });
        const value = element("span");
        this.charts.append(
          element("figure", { class: "ss-chart", title: say(EXPLAINED[name]) }, [
            element("figcaption", {}, [element("b", { text: say(TITLES[name]) }), value]),
            canvas,
          ]),
        );
        return { canvas, value, lines, logarithmic };
      });
      this.charts.replaceChildren(...this.plots.map(({ canvas }) => /** @type {HTMLElement} */ (canvas.parentElement)));
    }
    wanted.forEach(({ lines }, at) => (this.plots[at].lines = lines));
    this.cursor = Math.min(this.cursor, curves.steps.length - 1);
  }

  /** The sample pictures; the newest comes into view. */
  fillSamples() {
    /** @type {File[]} */
    const files = this.told.images ?? [];
    const names = `${this.told.run} ${files.map(({ filename }) => filename).join()}`;
    this.samples.hidden = !files.length;
    if (this.samples.dataset.names === names) return;
    this.samples.dataset.names = names;
    this.samples.replaceChildren(...sampleSets(files));
    requestAnimationFrame(() => {
      this.samples.scrollLeft = this.samples.scrollWidth;
    });
  }

  draw() {
    if (!this.told?.curves || !this.root.isConnected) return;
    const style = getComputedStyle(this.root);
    const colours = {
      ink: style.color,
      faint: style.getPropertyValue("--ss-faint") || "#999",
      shade: "rgba(128, 128, 128, 0.12)",
    };
    const axis = this.axis();
    for (const { canvas, value, lines, logarithmic } of this.plots) {
      drawChart(canvas, lines, axis, this.cursor, { logarithmic, ...colours });
      const at = this.cursor < 0 ? axis.at.length - 1 : this.cursor;
      value.replaceChildren(
        ...lines.map(({ ink, smooth }) =>
          element("i", {
            style: `color: ${ink}`,
            text: logarithmic ? figure(smooth[at]) : (smooth[at]?.toFixed(2) ?? "–"),
          }),
        ),
      );
    }
  }

  axis() {
    return { at: this.told.curves.steps, steps: this.told.steps, phase1: this.told.phase1_steps };
  }

  /** @param {PointerEvent} event */
  point(event) {
    const chart = /** @type {HTMLElement} */ (event.target).closest(".ss-chart")?.querySelector("canvas");
    if (chart && this.told?.curves) this.look(stepAt(chart, event.clientX, this.axis()));
  }

  /** @param {number} cursor */
  look(cursor) {
    if (cursor === this.cursor) return;
    this.cursor = cursor;
    this.refresh();
  }

  /** Keys on the curves. @param {KeyboardEvent} event */
  walk(event) {
    const last = (this.told?.curves.steps.length ?? 0) - 1;
    const from = this.cursor < 0 ? last : this.cursor;
    const to = { ArrowLeft: this.cursor < 0 ? last : from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: -1 }[
      event.key
    ];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.look(event.key === "Escape" ? -1 : Math.max(0, Math.min(last, to)));
    if (this.cursor < 0) return;
    const values = this.plots.flatMap(({ lines, logarithmic }) =>
      lines.map(
        ({ name, smooth }) => `${logarithmic ? say(TITLES[name]) : `IoU ${name}`} ${figure(smooth[this.cursor])}`,
      ),
    );
    this.spoken.textContent = `${say("step {n}", { n: this.told.curves.steps[this.cursor] })}: ${values.join(", ")}`;
  }
}

/** @type {Record<string, string>} */
const TITLES = {
  masked: "loss inside the masks",
  attention: "attention loss",
  prior: "loss elsewhere (prior)",
  IoU: "IoU of map and mask",
};
/** @type {Record<string, string>} */
const EXPLAINED = {
  masked: "The error inside the masks, before weighting. Line: mean of 25 steps. Dots: single steps.",
  attention: "How far the maps are from the masks, before weighting. Line: mean of 25 steps. Dots: single steps.",
  prior: "How far the model has moved elsewhere, before weighting. Line: mean of 25 steps. Dots: single steps.",
  IoU: "Each token's map, cut at half of its maximum, against its mask: 0 to 1. Line: mean of 25 drawings.",
};
