// @ts-check
/** What this room says, in Chinese. */
import { addChinese } from "../shared/i18n.js";

addChinese({
  "a recorded run's first call": "已记录运行的首次调用",
  "nothing computed": "未做计算",
  "batch {n}": "批次 {n}",
  "{n} tokens": "{n} 个词元",
  "Picture {picture} → latent {latent}": "图像 {picture} → 潜空间 {latent}",
  "read by the Break-a-Scene attention loss": "Break-a-Scene 注意力损失读取的块",
  "noisy latent in": "输入：带噪潜空间",
  "prediction out": "输出：预测",
  map: "图",
  "{name}, {place}: {channels} channels on {grid}, {queries} queries, {keys} keys, {heads} heads of {width}, map {bytes}":
    "{name}，{place}：{grid} 上 {channels} 个通道，{queries} 个查询，{keys} 个键，{heads} 个头（宽 {width}），注意力图 {bytes}",
  "halved to {grid}": "减半为 {grid}",
  "latent {grid}": "潜空间 {grid}",
  "latent / {n}": "潜空间 / {n}",
  "the latent's grid": "潜空间网格",
  "no attention": "无注意力",
  "heads × width": "头数 × 宽度",
  "attention map": "注意力图",
  "if built": "若生成",
  cross: "交叉",
  self: "自注意",
  features: "特征图",
  "attention loss": "注意力损失",
  "{grid} cells ask {cells} questions of one another.": "{grid} 共 {cells} 格，互相查询。",
  "{grid} cells ask {cells} questions of {tokens} tokens: {cells} rows, {tokens} columns. One column, laid out on {grid}, is one token's heatmap.":
    "{grid} 共 {cells} 格，各向 {tokens} 个词元查询：{cells} 行、{tokens} 列。取一列铺回 {grid}，就是一个词元的热力图。",
  "The U-Net: arrow keys move from block to block, Enter opens its maps":
    "U-Net：方向键在块间移动，回车打开该块的注意力图",
  "Block shapes": "各块形状",
  "Run the workflow: the U-Net appears here.": "运行工作流后，这里会显示 U-Net。",
  "← U-Net": "← U-Net",
  "Back to the U-Net": "返回 U-Net",
  "Previous block": "上一个块",
  "Next block": "下一个块",
  "Click a block, or press Enter, to see its maps.": "点击某个块或按回车，查看它的注意力图。",
  "A MODEL gives shapes but no maps. Connect ATTENTION_MAPS, then click a block to open its maps.":
    "由 MODEL 只能得到形状，没有注意力图。连接 ATTENTION_MAPS 后，点击块即可打开其注意力图。",
  "Patches of other nodes are not followed: {names}.": "未计入其他节点的补丁：{names}。",
  "No cross-attention of {name} was recorded.": "没有记录 {name} 的交叉注意力。",
  "{name}: attention maps on {grid}": "{name}：{grid} 网格上的注意力图",
});
