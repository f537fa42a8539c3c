// @ts-check
/** What this room says, in Chinese. */
import { addChinese } from "../shared/i18n.js";

addChinese({
  "Training dashboard": "训练面板",
  "Run the workflow: losses, maps and samples appear here.": "运行工作流后，损失、注意力图和样图会显示在这里。",
  "Curves: left and right move from step to step": "曲线：左右键逐步查看",
  "Maps and masks": "注意力图与遮罩",
  "Sample pictures": "样图",
  "Phase 1, the tokens: {a} steps. Phase 2, the model with them: {b} steps.":
    "阶段 1（词元）：{a} 步。阶段 2（模型与词元）：{b} 步。",
  "not seen yet": "尚未出现",
  "IoU {a}, first {b}": "IoU {a}，起初 {b}",
  "Left: its mask. Right: its token's last map": "左为遮罩，右为该词元最近的注意力图",
  "Sample {n} of step {step}, opens in a new tab": "第 {step} 步的第 {n} 张样图，在新标签页中打开",
  "step {n}": "第 {n} 步",
  "loss inside the masks": "遮罩内损失",
  "attention loss": "注意力损失",
  "loss elsewhere (prior)": "其他区域损失（先验）",
  "Its mask covers {n} cells of the map: crop closer, or raise the resolution in Build Scene.":
    "其遮罩只占注意力图的 {n} 格：请裁近一些，或在“构建场景”中提高分辨率。",
  "Its mask shares {n} % with {other}: in Build Scene, give each place to only one thing.":
    "其遮罩有 {n}% 与 {other} 重叠：请在“构建场景”中让每处只属于一个物体。",
  "Its map misses its mask: in Build Scene, give it a starting word that names it, or use more steps in phase 1.":
    "其注意力图没有落在遮罩上：请在“构建场景”中给它一个合适的起始词，或增加阶段 1 的步数。",
  "IoU of map and mask": "图与遮罩的 IoU",
  "The error inside the masks, before weighting. Line: mean of 25 steps. Dots: single steps.":
    "遮罩内的误差，未加权。线：25 步的平均。点：单步。",
  "How far the maps are from the masks, before weighting. Line: mean of 25 steps. Dots: single steps.":
    "注意力图与遮罩的差距，未加权。线：25 步的平均。点：单步。",
  "How far the model has moved elsewhere, before weighting. Line: mean of 25 steps. Dots: single steps.":
    "模型在其他方面的变化，未加权。线：25 步的平均。点：单步。",
  "Each token's map, cut at half of its maximum, against its mask: 0 to 1. Line: mean of 25 drawings.":
    "各词元的图在最大值一半处截断后与其遮罩的交并比：0 到 1。线：25 次出现的平均。",
  "Preparing …": "准备中……",
  "Finished: {steps} steps": "已完成：{steps} 步",
  "Stopped at step {step} of {steps}. Queue again to resume.":
    "停在第 {step} 步，共 {steps} 步。再次加入队列即可继续。",
  "Step {step} of {steps} · phase {phase} of 2": "第 {step} 步，共 {steps} 步 · 阶段 {phase}/2",
  "{s} s left": "剩余 {s} 秒",
  "{m} min {s} s left": "剩余 {m} 分 {s} 秒",
  "{h} h {m} min left": "剩余 {h} 小时 {m} 分",
});
