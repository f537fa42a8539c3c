// @ts-check
/** What this room says, in Chinese. */
import { addChinese } from "../shared/i18n.js";

addChinese({
  "Earlier run": "先前的运行",
  "Show advanced inputs": "显示高级输入",
  "Hide advanced inputs": "隐藏高级输入",
  "The last run did not get here: this is from an earlier one.": "上次运行未到达此处：所示为更早一次运行的结果。",
});
