// @ts-check
/** Where each block of a U-Net stands in the U, as the core's `lay_out` has it; and its sizes in words. No elements. */

/**
 * @typedef {{heads: number, head_width: number, query: number[], key: number[], value: number[], map: number[],
 * map_bytes: number}} Layer
 */
/**
 * @typedef {object} Block
 * @property {number} order @property {string} block @property {string} place @property {number} level
 * @property {number[]} features_in @property {number[]} features_out @property {string} dtype
 * @property {number | null} tokens @property {boolean} read_by_attention_loss
 * @property {Record<string, Layer>} attention
 */
/**
 * @typedef {{blocks: Block[], latent: [number, number], pixels: number, patches: string[], recorded: string[], view:
 * any}} Shapes
 */
/**
 * @typedef {object} Card  The blocks of one spatial transformer; none for the place that only starts a skip.
 * @property {Block[]} blocks @property {"down" | "middle" | "up"} arm @property {number} level @property {number} row
 */
/** @typedef {{level: number, row: number, rows: number}} Level */

/**
 * A level below a level; within a level both arms are aligned at the bottom, because a skip joins the last block of the
 * way down with the first of the way up.
 * @param {Block[]} blocks  in forward order
 * @returns {{cards: Card[], levels: Level[], rows: number}}
 */
export function layOut(blocks) {
  /** @type {Map<string, Block[]>} */
  const groups = new Map();
  for (const block of blocks) {
    const name = block.block.split(".")[0];
    groups.set(name, [...(groups.get(name) ?? []), block]);
  }
  const of = (/** @type {string} */ place) => [...groups.values()].filter((group) => group[0].place === place);
  const [down, up] = [of("down"), of("up").reverse()];
  /** @type {Card[]} */
  const cards = [];
  /** @type {Level[]} */
  const levels = [];
  let row = 0;
  for (let level = 0; level <= Math.max(0, ...[...down, ...up].map((group) => group[0].level)); level++) {
    const falling = [[], ...down.filter((group) => group[0].level === level)];
    const rising = up.filter((group) => group[0].level === level);
    const rows = Math.max(falling.length, rising.length);
    falling.forEach((group, at) =>
      cards.push({ blocks: group, arm: "down", level, row: row + rows - falling.length + at }),
    );
    rising.forEach((group, at) =>
      cards.push({ blocks: group, arm: "up", level, row: row + rows - rising.length + at }),
    );
    levels.push({ level, row, rows });
    row += rows;
  }
  for (const group of of("middle").slice(0, 1))
    cards.push({ blocks: group, arm: "middle", level: group[0].level, row: row++ });
  return { cards, levels, rows: row };
}

/**
 * The card that an arrow key leads to: up and down along an arm, left and right over a skip, through the middle below.
 * @param {Card[]} cards  @param {Card} from @param {string} key
 * @returns {Card | undefined}
 */
export function neighbour(cards, from, key) {
  const arm = (/** @type {string} */ name) => cards.filter((card) => card.arm === name && card.blocks.length);
  const [down, middle, up] = [arm("down"), arm("middle")[0], arm("up")];
  const lowest = (/** @type {Card[]} */ list) => list[list.length - 1];
  const nearest = (/** @type {Card[]} */ list) =>
    list.reduce(
      (/** @type {Card | undefined} */ best, card) =>
        !best || Math.abs(card.row - from.row) < Math.abs(best.row - from.row) ? card : best,
      undefined,
    );
  if (key === "Home") return down[0] ?? up[0];
  if (key === "End") return up[0] ?? lowest(down);
  if (from.arm === "middle") return { ArrowLeft: lowest(down), ArrowUp: lowest(down), ArrowRight: lowest(up) }[key];
  const own = from.arm === "down" ? down : up;
  const at = own.indexOf(from);
  if (key === "ArrowUp") return own[at - 1];
  if (key === "ArrowDown") return own[at + 1] ?? middle;
  if (key === "ArrowRight") return from.arm === "down" ? nearest(up) : undefined;
  return key === "ArrowLeft" && from.arm === "up" ? nearest(down) : undefined;
}

/** The grid after this many halvings, rounded up as the U-Net does. @param {number[]} latent @param {number} level */
export function halved(latent, level) {
  let grid = latent;
  for (let times = 0; times < level; times++) grid = grid.map((side) => Math.ceil(side / 2));
  return grid;
}

/** @param {number[]} sizes */
export const times = (sizes) => sizes.join("×");

/** Bytes as the core's `bytes_text` writes them. @param {number} count */
export function bytesText(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [count, 0];
  while (unit < 4 && value >= (unit ? 999.95 : 1000)) [value, unit] = [value / 1000, unit + 1];
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}
