// @ts-check
/** The viewer's controls: step, source, head, prompt, picture, and how to draw. */
import { COLOURS } from "../shared/colour.js";
import { element } from "../shared/dom.js";
import { addChinese, say } from "../shared/i18n.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Choices} Choices */

/**
 * @param {(changes: Partial<Choices>) => void} choose @param {() => void} save @param {typeof import("../shared/dom.js").choice} choice
 */
export function makeControls(choose, save, choice) {
  const step = element("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": say("Step; 0 is the mean"), on: { input: () => choose({ step: Number(step.value) }) } });
  const mean = element("button", { type: "button", class: "ss-button", text: say("mean"), title: say("Average all steps"), on: { click: () => choose({ step: 0 }) } });
  const opacity = element("input", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": say("Opacity"), on: { input: () => choose({ opacity: Number(opacity.value) }) } });
  const split = element("button", {
    type: "button", class: "ss-button", text: say("pieces"), title: say("Show each token for itself, not whole words"), "aria-pressed": "false",
    on: { click: () => choose({ split: split.getAttribute("aria-pressed") !== "true" }) },
  });
  const clear = element("button", { type: "button", class: "ss-button", text: say("unpin"), title: say("Unpin all words"), on: { click: () => choose({ pins: [] }) } });
  const png = element("button", { type: "button", class: "ss-button ss-export", text: "PNG", title: say("Save what is shown as a picture"), on: { click: save } });
  const about = element("output", { class: "ss-about" });
  const parts = {
    step, mean, opacity, split, clear, about,
    from: choice(say("Layers"), (from) => choose({ from })),
    head: choice(say("Head"), (head) => choose({ head: Number(head) })),
    entry: choice(say("Prompt"), (entry) => choose({ entry: Number(entry) })),
    image: choice(say("Picture"), (image) => choose({ image: Number(image) })),
    scale: choice(say("Scale"), (scale) => choose({ scale })),
    colours: choice(say("Colours"), (colours) => choose({ colours })),
  };
  const fields = [parts.from, parts.head, parts.entry, parts.image, parts.scale].map((part) => part.root);
  const root = element("div", { class: "ss-controls" }, [
    element("div", { class: "ss-row" }, [element("span", { class: "ss-label", text: say("Step") }), mean, step, about]),
    element("div", { class: "ss-row ss-fields" }, fields),
    element("div", { class: "ss-row" }, [element("span", { class: "ss-label", text: say("Opacity") }), opacity, parts.colours.root, split, clear, png]),
  ]);
  return { root, ...parts };
}

/** @param {ReturnType<typeof makeControls>} controls @param {Model} model */
export function fillControls(controls, model) {
  const { choices, entry, header } = model;
  controls.step.max = String(model.steps.length);
  controls.step.value = String(choices.step);
  controls.step.setAttribute("aria-valuetext", model.describe());
  controls.mean.setAttribute("aria-pressed", String(choices.step === 0));
  controls.opacity.value = String(choices.opacity);
  controls.split.setAttribute("aria-pressed", String(choices.split));
  controls.split.hidden = !entry.columns.some((column, at) => column.word !== null && entry.columns[at + 1]?.word === column.word);
  controls.clear.hidden = !choices.pins.length;
  controls.from.fill(sources(model), choices.from);
  controls.head.fill(
    model.heads.length ? [{ value: "-1", text: say("mean of heads") }, ...model.heads.map((head) => ({ value: String(head), text: String(head) }))] : [],
    String(choices.head),
  );
  const several = header.entries.some((one, at) => header.entries.some((other, place) => place !== at && other.branch === one.branch));
  controls.entry.fill(
    header.entries.map((one, at) => ({ value: String(at), text: `${say(one.branch)}${several ? ` ${one.index}` : ""}` })),
    String(choices.entry),
  );
  controls.image.fill(Array.from({ length: header.images }, (_, at) => ({ value: String(at), text: String(at + 1) })), String(choices.image));
  controls.scale.fill(
    [
      { value: "shown", text: say("words shown") },
      { value: "words", text: say("all words") },
      { value: "own", text: say("each its own") },
      { value: "share", text: say("0 to 1") },
    ],
    choices.scale,
  );
  controls.colours.fill(COLOURS.map((value) => ({ value, text: say(value) })), choices.colours);
}

/** Which blocks can be averaged, or looked at alone. @param {Model} model */
function sources(model) {
  const { blocks } = model.entry;
  const grids = [...new Set(blocks.map((block) => block.recorded.join("x")))];
  const places = [...new Set(blocks.map((block) => block.place))];
  const count = (/** @type {(block: any) => boolean} */ test) => blocks.filter(test).length;
  return [
    { value: "all", text: say("all {n} blocks", { n: blocks.length }) },
    ...grids.map((grid) => ({ value: `grid:${grid}`, text: `${grid.replace("x", "×")} (${count((b) => b.recorded.join("x") === grid)})`, group: say("by grid") })),
    ...places.map((place) => ({ value: `place:${place}`, text: `${say(place)} (${count((b) => b.place === place)})`, group: say("by place") })),
    ...blocks.map((block) => ({ value: `block:${block.name}`, text: `${block.name} · ${block.recorded.join("×")}`, group: say("one block") })),
  ];
}

addChinese({
  "Run the workflow: the maps appear here.": "运行工作流后，这里会显示注意力图。",
  "Loading the maps …": "正在读取注意力图…",
  "These maps are no longer on the server ({why}). Run the workflow again.": "服务器上已没有这些注意力图（{why}）。请重新运行工作流。",
  "To keep the file small it holds {kept} of {of} steps; the mean is over all.": "为控制文件大小，只保存了 {of} 步中的 {kept} 步；平均值包含所有步。",
  "Single heads are means over all steps.": "单个注意力头显示为所有步的平均。",
  "Grids are at most {kept} cells.": "网格最多 {kept} 格。",
  "It holds {kept} of {of} pictures.": "只保存了 {of} 张图中的 {kept} 张。",
  "Attention viewer": "注意力查看器",
  "Picture: arrow keys ask for the words at a place": "图像：方向键查询某处的词",
  "Words: left and right walk, up and down change the step, Enter pins": "词：左右键切换，上下键换步，回车固定",
  "step {n} of {all}": "第 {n} 步，共 {all} 步",
  "mean of {n} steps": "{n} 步平均",
  "some maps were made on {grids}": "部分图在 {grids} 网格上生成",
  "{n} blocks": "{n} 个块",
  "all {n} blocks": "全部 {n} 个块",
  "head {n}": "头 {n}",
  "max {a} · mean {b}": "最大 {a} · 平均 {b}",
  "max {a}": "最大 {a}",
  "even {n}": "均匀 {n}",
  "Whole picture": "整张图",
  "Row {y}, column {x}": "第 {y} 行，第 {x} 列",
  "start, end, padding: {n}": "起始、结束、填充：{n}",
  "Colours: 0 to each map's own largest share": "颜色：0 到各图自己的最大份额",
  "Colours: shares of attention from 0 to {n}": "颜色：注意力份额 0 到 {n}",
  "share of attention": "注意力份额",
  "{word}: largest share {a}": "{word}：最大份额 {a}",
  "columns {a} to {b}": "第 {a} 至 {b} 列",
  "column {n}": "第 {n} 列",
  "weight {n}": "权重 {n}",
  "Step; 0 is the mean": "步；0 为平均",
  Step: "步",
  mean: "平均",
  "Average all steps": "所有步取平均",
  Opacity: "不透明度",
  pieces: "词元",
  "Show each token for itself, not whole words": "逐个显示词元，而非整词",
  unpin: "取消固定",
  "Unpin all words": "取消固定所有词",
  "Save what is shown as a picture": "将所示内容存为图片",
  Layers: "层",
  Head: "头",
  Prompt: "提示词",
  Picture: "图像",
  Scale: "刻度",
  Colours: "配色",
  "mean of heads": "各头平均",
  positive: "正向",
  negative: "负向",
  "words shown": "所示各词共用",
  "all words": "所有词共用",
  "each its own": "各用各的",
  "0 to 1": "0 到 1",
  inferno: "inferno",
  viridis: "viridis",
  grey: "灰度",
  "by grid": "按网格",
  "by place": "按位置",
  "one block": "单个块",
  down: "下行",
  middle: "中部",
  up: "上行",
});
