// Keyboard shortcuts: move between results, judge, go to the query, rank.

import { byId } from "./elements.js";
import { judge } from "./judging.js";
import { rank } from "./request.js";
import { resultColumns } from "./results.js";

const MOVES = { j: [1, 0], k: [-1, 0], l: [0, 1], h: [0, -1] }; // key → rows, columns
const GRADES = { r: 1, n: 0 };

export function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Enter" && !event.altKey) rank();
    return;
  }
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const result = event.target.closest?.(".result");
  if (event.key === "/") {
    event.preventDefault();
    byId("query").focus();
  } else if (event.key in MOVES) {
    event.preventDefault();
    moveFocus(result, ...MOVES[event.key]);
  } else if (result && event.key in GRADES) {
    judge(Number(result.dataset.index), GRADES[event.key]);
  }
}

function moveFocus(result, rows, columns) {
  const items = resultColumns();
  if (!items.length) return;
  const column = Math.max(0, items.findIndex((candidates) => candidates.includes(result)));
  const row = result ? items[column].indexOf(result) : -1;
  const targetColumn = items[clamp(column + columns, items.length)];
  const target = targetColumn[clamp(row + rows, targetColumn.length)];
  target.focus();
  target.scrollIntoView({ block: "nearest" });
}

const clamp = (index, length) => Math.max(0, Math.min(length - 1, index));
