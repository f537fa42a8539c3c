// @ts-check
/** What a node has said is there again after a reload, and after a run in which it was not run anew. */
import { say } from "../shared/i18n.js";
import { onOutput, sayOnNode } from "./server.js";
import "./zh.js";

onOutput("scenescope_text", (text, id, earlier) =>
  sayOnNode(id, earlier && text ? `${say("Earlier run")}: ${text}` : text),
);
