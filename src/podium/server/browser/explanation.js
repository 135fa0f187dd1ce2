// The explanation of a score: the sentences of a text, and the passages of a long text, scored by the same reranker.

import { element } from "./elements.js";
import { passages, sentences } from "./measures.js";
import { send } from "./server.js";
import { state } from "./state.js";

/** Expands or collapses a result. When a result is first expanded, the sentences of its text are scored and marked. */
export async function explain(item, ranking, result) {
  item.classList.toggle("open");
  const text = state.texts[result.index];
  if (!item.classList.contains("open") || item.dataset.explained || !text || result.no_text) return;
  item.dataset.explained = "yes";
  const sentenceRanges = sentences(text);
  const passageRanges = passages(sentenceRanges);
  const message = element("p", { class: "more" }, "scoring the sentences …");
  item.append(message);
  if (sentenceRanges.length < 2) {
    message.textContent = "the text is one sentence, so its score is the score of the document";
    return;
  }
  try {
    const { scores, scoreKind } = await scoresOf(ranking.name, text, [...sentenceRanges, ...passageRanges]);
    const sentenceScores = scores.slice(0, sentenceRanges.length);
    const passageScores = scores.slice(sentenceRanges.length);
    const bestPassage = passageRanges[passageScores.indexOf(Math.max(...passageScores))];
    item.querySelector(".text").replaceChildren(...markedSentences(text, sentenceRanges, sentenceScores, bestPassage, scoreKind));
    message.textContent = summary(sentenceScores, passageScores);
  } catch (error) {
    delete item.dataset.explained;
    message.textContent = error.message;
  }
}

async function scoresOf(model, text, ranges) {
  const documents = ranges.map(([begin, end]) => text.slice(begin, end));
  const reply = await send("/rank", { model, query: state.request.query, documents });
  const scores = [];
  for (const { index, score } of reply.results) scores[index] = score;
  return { scores, scoreKind: reply.score_kind };
}

/** Returns the parts of the text. Each sentence is in a <mark> whose color (s0 to s4) depends on the sentence's score. */
function markedSentences(text, ranges, scores, bestPassage, scoreKind) {
  const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
  const parts = [];
  let position = 0;
  ranges.forEach(([begin, end], index) => {
    const colorStep = highest > lowest ? Math.round((4 * (scores[index] - lowest)) / (highest - lowest)) : 0;
    const isInBestPassage = bestPassage && begin >= bestPassage[0] && end <= bestPassage[1];
    const title = `scored separately: ${scores[index].toFixed(4)} (${scoreKind})`;
    const mark = element("mark", { class: `s${colorStep}${isInBestPassage ? " best" : ""}`, title }, text.slice(begin, end));
    parts.push(text.slice(position, begin), mark);
    position = end;
  });
  return [...parts, text.slice(position)];
}

function summary(sentenceScores, passageScores) {
  const best = `each sentence is scored separately; the strongest color is the highest score, ${Math.max(...sentenceScores).toFixed(4)}`;
  if (!passageScores.length) return best;
  return `${best}; the best passage is underlined, ${Math.max(...passageScores).toFixed(4)}`;
}
