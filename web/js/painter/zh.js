// @ts-check
/** What this room says, in Chinese. */
import { addChinese } from "../shared/i18n.js";

addChinese({
  "Connect a picture to paint on it.": "连接图像后即可绘制。",
  "Run once to see the picture.": "运行一次即可看到图像。",
  "The painting {name} can't be loaded. If its file is gone, clear and paint again.":
    "无法读取绘制文件 {name}。若文件已不存在，请清除后重新绘制。",
  "The painting could not be saved ({why}). It will be tried again when you queue.":
    "绘制未能保存（{why}）。排队时会再试。",
  "Painting. Arrow keys move the brush, Space paints or fills, Shift with arrows draws a line.":
    "绘画区。方向键移动画笔，空格键绘制或填充，Shift 加方向键画线。",
  "Paint {handle}": "绘制 {handle}",
  "Handle of thing {number}": "物体 {number} 的代号",
  "Starting word of {handle}": "{handle} 的起始词",
  "starting word": "起始词",
  "Set by the link to {name}": "由 {name} 的连线提供",
  "line {number}": "第 {number} 行",
  "Words of line {number}": "第 {number} 行的词语",
  "words of the prompt": "提示词中的词语",
  "An empty square, stretched over the picture. Connect `picture` to paint on one.":
    "空白方形，会拉伸到整张图像。连接 `picture` 即可在图像上绘制。",
  "To paint places, show the advanced inputs.": "要绘制位置，请显示高级输入。",
  Paint: "绘制",
  "Show or hide the painter": "显示或隐藏绘图器",
  Brush: "画笔",
  Eraser: "橡皮",
  Fill: "填充",
  "Fill a region enclosed by paint with the chosen colour": "用所选颜色填充被颜料围住的区域",
  Undo: "撤销",
  Redo: "重做",
  Clear: "清除",
  "Undo (Ctrl+Z)": "撤销（Ctrl+Z）",
  "Redo (Ctrl+Shift+Z)": "重做（Ctrl+Shift+Z）",
  "Remove all paint": "清除所有绘制",
  Size: "大小",
  Opacity: "不透明度",
  "Brush size in pixels of the picture": "画笔大小（图像像素）",
  "Opacity of the paint on the screen; masks do not change": "屏幕上颜料的不透明度；遮罩不变",
  "{size} pixels": "{size} 像素",
});
