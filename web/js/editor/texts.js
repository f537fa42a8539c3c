// @ts-check
/** What a node has said is there again after a reload, and after a run in which it was not run anew. */
import { onOutput, sayOnNode } from "./server.js";

onOutput("scenescope_text", (text, id) => sayOnNode(id, text));
