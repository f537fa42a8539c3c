// @ts-check
/** What this room says, in Chinese. */
import { addChinese } from "../shared/i18n.js";

addChinese({
  "Earlier run": "先前的运行",
  "Show advanced inputs": "显示高级输入",
  "Hide advanced inputs": "隐藏高级输入",
  "The last run did not get here: this is from an earlier one.": "上次运行未到达此处：所示为更早一次运行的结果。",
});

// Apps: what they ask, and what they show.
addChinese({
  "use my own photo": "使用自己的照片",
  "Use my own photo": "使用自己的照片",
  "my photo": "我的照片",
  "My photo": "我的照片",
  "what was learned": "学到的内容",
  "What was learned": "学到的内容",
  "things, one per line": "物体，每行一个",
  "In new pictures": "在新图像中",
  "What is learned": "学习的内容",
  "How the training went": "训练过程",
  "The pictures": "图像",
  "The picture": "图像",
  "Where each word went": "每个词落在哪里",
  "On the picture": "叠加在图像上",
  "What is wrong": "问题在哪里",
  Before: "修复前",
  "After the repair": "修复后",
  Seed: "种子",
  prompt: "提示词",
  seed: "种子",
  "starting word": "起始词",
});
