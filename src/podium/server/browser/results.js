// The rankings, side by side: each result with its score, how far it moved, and the tokens that were read.

import { idOf, titleOf } from "./documents.js";
import { byId, element, formatNumber, formatSeconds } from "./elements.js";
import { explain } from "./explanation.js";
import { judgeButtons, showJudgements } from "./judging.js";
import { barLength } from "./measures.js";
import { state } from "./state.js";

const MAX_SHOWN = 100;
const SCORE_KINDS = {
  logit: "logits", sigmoid: "between 0 and 1, not calibrated", probability: "calibrated probabilities",
  similarity: "similarities", similarity_sum: "sums of similarities", fused: "fused",
}; // prettier-ignore

export function showResults() {
  byId("results").hidden = false;
  byId("columns").replaceChildren(...state.rankings.map(rankingSection));
  showJudgements();
}

/** Returns the result elements of each ranking. */
export function resultColumns() {
  return [...byId("columns").querySelectorAll("[data-column]")].map((section) => [...section.querySelectorAll(".result")]);
}

function rankingSection(ranking, index) {
  const heading = element("h2", {}, ranking.name);
  if (ranking.error) return element("section", {}, heading, element("p", { class: "note" }, ranking.error));
  const firstModel = ranking.results[0]?.scored_by; // bars compare scores of one model
  const comparable = ranking.results.filter((result) => !result.no_text && result.score !== null && result.scored_by === firstModel);
  const scores = comparable.map((result) => result.score);
  const hiddenCount = ranking.results.length - MAX_SHOWN;
  return element(
    "section",
    { "aria-label": ranking.name, "data-column": index },
    heading,
    rankingFacts(ranking),
    ...ranking.notes.map((note) => element("p", { class: "note" }, note)),
    element("ol", {}, ...ranking.results.slice(0, MAX_SHOWN).map((result) => resultItem(ranking, result, scores))),
    hiddenCount > 0 ? element("p", { class: "more" }, `and ${formatNumber(hiddenCount)} more`) : null,
  );
}

function rankingFacts({ usage, score_kind: scoreKind, model, name }) {
  const billed = Object.entries(usage.billed).map(([unit, amount]) => `${formatNumber(amount)} ${unit.replaceAll("_", " ")} billed`);
  const parts = [
    model === name ? null : model,
    formatSeconds(usage.seconds),
    usage.tokens === null ? null : `${formatNumber(usage.tokens)} tokens`,
    billed.length ? billed.join(", ") : "nothing billed",
    `scores are ${SCORE_KINDS[scoreKind]}`,
  ];
  const ndcg = element("strong", { class: "ndcg" }, "–");
  return element("p", { class: "facts" }, parts.filter(Boolean).join(" · "), " · nDCG@10 ", ndcg);
}

function resultItem(ranking, result, scores) {
  const { index } = result;
  const text = element("p", { class: "text", title: "click to explain the score" }, ...textParts(state.texts[index], result.passage));
  const item = element(
    "li",
    { class: "result", tabindex: "0", "data-index": index },
    scoreLine(ranking, result, scores),
    idAndTitle(state.request.documents[index], state.texts[index]),
    text,
    tokenCounts(result),
  );
  text.addEventListener("click", () => explain(item, ranking, result));
  item.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === item) explain(item, ranking, result);
  });
  return item;
}

/** Returns the text, or else the passage that decided the score, in a <mark>. */
function textParts(text, passage) {
  if (!passage) return [text || "(no text)"];
  const title = `this passage decided the score: ${passage.score.toFixed(4)}; click to see the whole text`;
  const length = [...text].length; // the server counts characters, not UTF-16 code units
  const mark = element("mark", { class: "s2 passage", title }, passage.text);
  return [passage.start > 0 ? "… " : "", mark, passage.end < length ? " …" : ""];
}

function scoreLine(ranking, result, scores) {
  const fill = element("span");
  const isComparable = !result.no_text && result.score !== null && result.scored_by === ranking.results[0].scored_by;
  const length = isComparable ? barLength(result.score, scores, ranking.score_kind) : 0;
  fill.style.width = `${(100 * Math.max(0, Math.min(1, length))).toFixed(1)}%`;
  return element(
    "div",
    { class: "line" },
    element("span", { class: "rank" }, String(result.rank)),
    movement(result),
    element("span", { class: "bar" }, fill),
    element("span", { title: scoreTitle(ranking, result) }, result.no_text || result.score === null ? "–" : result.score.toFixed(4)),
    judgeButtons(result.index),
  );
}

function scoreTitle(ranking, { no_text: noText, score, scored_by: model }) {
  if (noText || score === null) return "not scored";
  return model === ranking.model ? ranking.score_kind : `score of ${model}`;
}

function movement({ index, rank }) {
  const ranksUp = index + 1 - rank;
  const title = `number ${index + 1} in the input`;
  if (ranksUp > 0) return element("span", { class: "moved up", title }, `▲${ranksUp}`);
  if (ranksUp < 0) return element("span", { class: "moved down", title }, `▼${-ranksUp}`);
  return element("span", { class: "moved", title }, "=");
}

/** Returns a document's id, and its title if the text does not contain it. */
function idAndTitle(document, text) {
  const title = titleOf(document);
  const parts = [idOf(document), title && !text.includes(title) ? title : null].filter(Boolean);
  return parts.length ? element("p", { class: "source" }, parts.join(" · ")) : null;
}

function tokenCounts({ tokens, dropped_tokens: dropped, no_text: noText, score }) {
  if (noText) return element("p", { class: "more" }, "no text, so not scored");
  if (score === null) return element("p", { class: "more" }, "not scored");
  if (tokens === null) return element("p", { class: "more" }, "number of tokens unknown");
  const cut = dropped ? element("span", { class: "cut" }, `, ${formatNumber(dropped)} dropped`) : "";
  return element("p", { class: "more" }, `${formatNumber(tokens)} tokens read`, cut);
}
