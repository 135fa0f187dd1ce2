// Judgements: the buttons of a result, and nDCG of each ranking.

import { byId, element } from "./elements.js";
import { ndcg } from "./measures.js";
import { state } from "./state.js";

export function judgeButtons(index) {
  return element("span", { class: "judge" }, judgeButton(index, 1, "✓", "relevant"), judgeButton(index, 0, "✗", "not relevant"));
}

/** Sets the grade of a document, or removes it if it is set already. */
export function judge(index, grade) {
  if (state.grades.get(index) === grade) state.grades.delete(index);
  else state.grades.set(index, grade);
  showJudgements();
}

export function showJudgements() {
  for (const item of byId("columns").querySelectorAll(".result")) {
    const grade = state.grades.get(Number(item.dataset.index));
    item.dataset.judged = grade ?? "";
    for (const button of item.querySelectorAll("[data-grade]")) button.setAttribute("aria-pressed", String(Number(button.dataset.grade) === grade));
  }
  for (const section of byId("columns").querySelectorAll("[data-column]")) {
    section.querySelector(".ndcg").textContent = ndcgText(state.rankings[section.dataset.column]);
  }
}

function ndcgText({ results }) {
  const ranked = ndcg(results.map((result) => result.index), state.grades);
  if (ranked === null) return "– (judge some results)";
  const input = ndcg(results.map((_, index) => index), state.grades);
  return `${ranked.toFixed(3)} (input order: ${input.toFixed(3)})`;
}

function judgeButton(index, grade, sign, label) {
  const attributes = { type: "button", class: "small", "data-grade": grade, "aria-label": label, title: label, "aria-pressed": "false" };
  return element("button", { ...attributes, onclick: () => judge(index, grade) }, sign);
}
