// The explanation of a score: what each sentence of a text contributes to it, computed by the server.

import { element } from "./elements.js";
import { send } from "./server.js";
import { state } from "./state.js";

/** Expands or collapses a result. When a result is first expanded, its sentences are marked by their contributions. */
export async function explain(item, ranking, result) {
  item.classList.toggle("open");
  const text = state.texts[result.index];
  if (!item.classList.contains("open") || item.dataset.explained || !text || result.no_text) return;
  item.dataset.explained = "yes";
  const message = element("p", { class: "more" }, "scoring the text without each sentence …");
  item.append(message);
  try {
    const { sentences, notes } = await explanationOf(ranking.name, text);
    item.querySelector(".text").replaceChildren(...markedSentences(sentences));
    message.textContent = [summary(sentences), ...notes].join("; ");
  } catch (error) {
    delete item.dataset.explained;
    message.textContent = error.message;
  }
}

async function explanationOf(model, text) {
  const passages = state.request.passages ?? false;
  const reply = await send("/rank", { model, query: state.request.query, documents: [text], explain: true, passages });
  return reply.results[0].explanation;
}

/** Returns a <mark> for each sentence. Its color (s0 to s4) depends on its contribution; "against" lowers the score. */
function markedSentences(sentences) {
  const highest = Math.max(...sentences.map((sentence) => sentence.contribution ?? 0));
  return sentences.map(({ text, contribution }) => {
    const share = highest > 0 ? Math.max(0, contribution ?? 0) / highest : 0;
    const title = contribution === null ? "the only sentence" : `contribution to the score: ${signed(contribution)}`;
    return element("mark", { class: `s${Math.ceil(4 * share)}${contribution < 0 ? " against" : ""}`, title }, text);
  });
}

function summary(sentences) {
  if (sentences.length === 1) return "the text is one sentence, so its score is the score of the document";
  const highest = Math.max(...sentences.map((sentence) => sentence.contribution));
  return `the strongest color is the sentence without which the score drops most, by ${signed(highest)}; dotted sentences lower the score`;
}

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(4)}`;
