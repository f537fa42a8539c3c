// @ts-check
/** The U on the screen: boxes, skips, the bend, and one block's row of the table. */
import { element } from "../shared/dom.js";
import { say } from "../shared/i18n.js";
import { bytesText, halved, layOut, times } from "./layout.js";

/** @typedef {import("./layout.js").Card} Card */
/** @typedef {import("./layout.js").Shapes} Shapes */

const SLAB = 28; // pixels of the latent's longer side

/** What the whole log is about. @param {Shapes} shapes */
export function headline(shapes) {
  const [height, width] = shapes.latent.map((side) => side * shapes.pixels);
  const first = shapes.blocks[0];
  const tokens = [...new Set(shapes.blocks.map((block) => block.tokens).filter((count) => count !== null))].join("/");
  const source = shapes.view || shapes.recorded.length ? say("a recorded run's first call") : say("nothing computed");
  const facts = [
    say("batch {n}", { n: first?.features_in[0] ?? 0 }),
    say("{n} tokens", { n: tokens || 0 }),
    first?.dtype ?? "",
    source,
  ];
  return [
    element("b", {
      text: say("Picture {picture} → latent {latent}", { picture: `${height}×${width}`, latent: times(shapes.latent) }),
    }),
    element("span", { text: facts.join(" · ") }),
    element("span", { class: "ss-loss-key", text: say("read by the Break-a-Scene attention loss") }),
  ];
}

/** Draw all blocks. @param {HTMLElement} root @param {Shapes} shapes */
export function drawU(root, shapes) {
  const { cards, levels, rows } = layOut(shapes.blocks);
  const least = Math.min(...shapes.blocks.map((block) => block.features_in[1]));
  const place = (/** @type {HTMLElement} */ part, /** @type {string} */ row, /** @type {string} */ column) => {
    part.style.gridRow = row;
    part.style.gridColumn = column;
    return part;
  };
  const top = [
    place(element("span", { class: "ss-end", text: say("noisy latent in") }), "1", "1"),
    place(element("span", { class: "ss-end", text: say("prediction out") }), "1", "3"),
  ];
  const boxes = cards.map((card) => {
    const box = card.blocks.length ? blockBox(card, shapes, least) : pill(card, shapes);
    box.classList.add(`ss-level-${Math.min(3, card.level)}`, `ss-${card.arm}`);
    box.style.setProperty("--deep", String(card.arm === "middle" ? 0 : card.level));
    return place(box, String(card.row + 2), { down: "1", middle: "1 / -1", up: "3" }[card.arm]);
  });
  const joined = cards.filter(
    (card) => card.arm === "up" && cards.some((other) => other.arm === "down" && other.row === card.row),
  );
  const skips = joined.map((card) =>
    place(element("i", { class: "ss-skip", "aria-hidden": "true" }), String(card.row + 2), "2"),
  );
  const labels = levels.map((level) =>
    place(levelLabel(level, shapes), `${level.row + 2} / span ${Math.min(2, level.rows)}`, "2"),
  );
  const bends = cards.some((card) => card.arm === "middle")
    ? ["down", "up"].map((arm) =>
        place(
          element("i", { class: `ss-bend ss-bend-${arm}`, "aria-hidden": "true" }),
          String(rows + 1),
          arm === "down" ? "1" : "3",
        ),
      )
    : [];
  root.replaceChildren(...top, ...skips, ...labels, ...bends, ...boxes);
}

/** @param {Card} card @param {Shapes} shapes @param {number} least */
function blockBox(card, shapes, least) {
  const [block] = card.blocks;
  const [, channels, height, width] = block.features_in;
  const layer = block.attention.cross ?? block.attention.self;
  const sizes = [`q ${layer.query[1]}`, `k ${layer.key[1]}`, `${say("map")} ${times(layer.map.slice(1))}`];
  const planes = Math.max(1, Math.min(5, Math.round(channels / least)));
  const scale = SLAB / Math.max(...shapes.latent);
  const side = (/** @type {number} */ cells) => `${Math.max(3, cells * scale)}px`;
  const slab = element("i", {
    style: `width: ${side(width)}; height: ${side(height)}; box-shadow: ${shadows(planes)}`,
  });
  const many = card.blocks.length > 1 ? ` ×${card.blocks.length}` : "";
  const has = card.blocks.some((one) => shapes.recorded.includes(one.block));
  const spoken = say(
    "{name}, {place}: {channels} channels on {grid}, {queries} queries, {keys} keys, {heads} heads of {width}, map {bytes}",
    {
      name: block.block,
      place: say(block.place),
      channels,
      grid: `${height}×${width}`,
      queries: layer.query[1],
      keys: layer.key[1],
      heads: layer.heads,
      width: layer.head_width,
      bytes: bytesText(layer.map_bytes),
    },
  );
  const loss = block.read_by_attention_loss ? `; ${say("read by the Break-a-Scene attention loss")}` : "";
  return element(
    "button",
    {
      type: "button",
      class: `ss-block${loss ? " ss-loss" : ""}${has ? " ss-has-maps" : ""}`,
      "data-block": block.block,
      "aria-label": spoken + loss,
      tabindex: -1,
    },
    [
      element("span", { class: "ss-slab", "aria-hidden": "true" }, [slab]),
      element("span", { class: "ss-names" }, [
        element("b", { text: block.block + many }),
        element("span", { text: `${channels} @ ${height}×${width}` }),
      ]),
      element("span", { class: "ss-sizes", text: sizes.join("  ") }),
    ],
  );
}

/** Planes behind the first. @param {number} planes */
function shadows(planes) {
  const behind = Array.from({ length: planes - 1 }, (_, at) => {
    const shade = `color-mix(in srgb, var(--level) ${70 - 14 * at}%, var(--ss-paper))`;
    return `${2 * at + 2}px ${-2 * at - 2}px 0 ${at % 2 ? "0" : "-0.5px"} ${shade}`;
  });
  return behind.join(", ") || "none";
}

/** @param {Card} card @param {Shapes} shapes */
function pill(card, shapes) {
  const grid = times(halved(shapes.latent, card.level));
  return element("span", {
    class: "ss-pill",
    text: card.level ? say("halved to {grid}", { grid }) : say("latent {grid}", { grid }),
  });
}

/** @param {import("./layout.js").Level} level @param {Shapes} shapes */
function levelLabel({ level }, shapes) {
  const blocks = shapes.blocks.filter((block) => block.level === level && block.place !== "middle");
  const read = blocks.some((block) => block.read_by_attention_loss);
  const grid = blocks[0]?.features_in.slice(2) ?? halved(shapes.latent, level);
  const words = blocks.length
    ? level
      ? say("latent / {n}", { n: 2 ** level })
      : say("the latent's grid")
    : say("no attention");
  return element("span", { class: `ss-level ss-level-${Math.min(3, level)}${read ? " ss-loss" : ""}` }, [
    element("b", { text: times(grid) }),
    element("span", { text: words }),
  ]);
}

/** One block's row of the table. @param {HTMLElement} root @param {Card} card @param {Shapes} shapes */
export function drawTable(root, card, shapes) {
  const [block] = card.blocks;
  const layers = /** @type {[string, import("./layout.js").Layer][]} */ (
    ["cross", "self"].map((kind) => [kind, block.attention[kind]]).filter(([, layer]) => layer)
  );
  const titles = ["", "q", "k, v", say("heads × width"), say("attention map"), say("if built")];
  const head = element(
    "tr",
    {},
    titles.map((text) => element("th", { scope: "col", text })),
  );
  const body = layers.map(([kind, layer]) =>
    element("tr", {}, [
      element("th", { scope: "row", text: say(kind) }),
      ...[
        times(layer.query),
        times(layer.key),
        `${layer.heads} × ${layer.head_width}`,
        times(layer.map),
        bytesText(layer.map_bytes),
      ].map((text) => element("td", { text })),
    ]),
  );
  const features = `${times(block.features_in)} → ${times(block.features_out)}`;
  const parts = [
    element("b", { text: block.block + (card.blocks.length > 1 ? ` ×${card.blocks.length}` : "") }),
    element("span", { text: `${say(block.place)} · ${say("features")} ${features} · ${block.dtype}` }),
  ];
  if (block.read_by_attention_loss) parts.push(element("span", { class: "ss-loss-key", text: say("attention loss") }));
  root.replaceChildren(
    element("div", { class: "ss-shape-title" }, parts),
    element("table", {}, [element("thead", {}, [head]), element("tbody", {}, body)]),
    element("p", { class: "ss-why", text: why(block, shapes) }),
  );
}

/** Why the map has that size. @param {import("./layout.js").Block} block @param {Shapes} shapes */
function why(block, shapes) {
  const [height, width] = block.features_in.slice(2);
  const values = {
    grid: `${height}×${width}`,
    cells: height * width,
    tokens: block.tokens ?? 0,
    latent: times(shapes.latent),
  };
  if (block.tokens === null) return say("{grid} cells ask {cells} questions of one another.", values);
  return say(
    "{grid} cells ask {cells} questions of {tokens} tokens: {cells} rows, {tokens} columns. One column, laid out on {grid}, is one token's heatmap.",
    values,
  );
}
