// The playground: what is typed, what came back, what was judged. Everything from a document goes in as text, never as markup.

import { asCandidate, fromFile, idOf, parse, titleOf, toLines } from "./documents.js";
import { curl, judgedCsv, python } from "./exports.js";
import { bar, ndcg, passages, sentences } from "./measures.js";
import { ask, useKey } from "./server.js";

const EXAMPLE = [
  "Capital punishment has existed in the United States for centuries. Some of the states have abolished it.",
  "Carson City is the capital of Nevada.",
  "Venture capital is money for young companies. Most of it is spent in California.",
  "The city has no senator. It lies on land that two states gave. Washington, D.C. is the capital of the United States.",
  "Ottawa is the capital of Canada.",
];
const MOST_SHOWN = 100;
const SCORE_KINDS = {
  logit: "logits", sigmoid: "between 0 and 1, not calibrated", probability: "calibrated probabilities",
  similarity: "similarities", fused: "fused",
}; // prettier-ignore

const $ = (id) => document.getElementById(id);
const state = { models: [], asked: null, rankings: [], judged: new Map(), texts: [] };

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", failed);
}

const fields = () => $("fields").value.split(",").map((name) => name.trim()).filter(Boolean);
const plural = (count, what) => `${number(count)} ${what}${count === 1 ? "" : "s"}`;
const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });

// Asking

async function begin() {
  $("documents").value = toLines(EXAMPLE);
  counted();
  await listModels();
}

async function listModels() {
  try {
    const listed = await ask("/v1/models");
    state.models = listed.data;
    $("search").hidden = $("candidates-label").hidden = !listed.search;
    $("models").replaceChildren($("models").querySelector("legend"), ...state.models.map(choice));
    $("key-label").hidden = $("key-label").hidden && !$("key").value;
    say(state.models.length ? "" : "the models are still loading");
    if (!state.models.length) setTimeout(listModels, 500);
  } catch (error) {
    failed(error);
  }
}

function choice(model, at) {
  const box = el("input", { type: "checkbox", value: model.id, checked: at === 0, onchange: atMostThree });
  return el("label", {}, box, ` ${model.id}`);
}

function chosen() {
  return [...$("models").querySelectorAll("input:checked")].map((box) => box.value);
}

function atMostThree(event) {
  if (chosen().length > 3) event.target.checked = false;
}

function counted() {
  $("count").textContent = plural(parse($("documents").value).length, "document");
}

async function rank(event) {
  event?.preventDefault();
  const [query, documents, models] = [$("query").value, parse($("documents").value), chosen()];
  const missing = [[query.trim(), "a query"], [documents.length, "documents"], [models.length, "a reranker"]].filter(([there]) => !there);
  if (!state.models.length) return listModels(); // which says what is wrong, such as a key that is missing
  if (missing.length) return say(`what is missing: ${missing.map(([, what]) => what).join(", ")}`, true);
  say("ranking …");
  $("rank").disabled = true;
  const began = performance.now();
  try {
    const asked = { query, documents, ...(fields().length ? { rank_by: fields() } : {}) };
    const rankings = await Promise.all(models.map((model) => ranked(model, asked)));
    if (state.asked?.query !== query || JSON.stringify(state.asked.documents) !== JSON.stringify(documents)) state.judged = new Map();
    const [some] = rankings.filter((each) => !each.failed);
    const texts = documents.map(() => "");
    for (const { index, text } of some?.results ?? []) texts[index] = text ?? "";
    Object.assign(state, { asked, rankings, texts });
    show();
    const failures = rankings.filter((each) => each.failed).length;
    if (failures) say(failures < rankings.length ? `${failures} of ${rankings.length} rerankers failed` : "ranking failed", true);
    else say(`${plural(documents.length, "document")}, ${number(performance.now() - began)} ms in all`);
  } catch (error) {
    failed(error);
  } finally {
    $("rank").disabled = false;
  }
}

async function ranked(model, asked) {
  try {
    return { name: model, ...(await ask("/rank", { model, ...asked })) };
  } catch (error) {
    if (error.status === 401) throw error;
    return { name: model, failed: error.message }; // one that fails does not hide the others
  }
}

async function search() {
  if (!$("query").value.trim()) return say("a query is needed", true);
  say("searching …");
  try {
    const found = await ask("/search", { query: $("query").value, candidates: Number($("candidates").value) || 20 });
    if (!found.documents.length) return say("the index has nothing for this query", true);
    $("documents").value = toLines(found.documents.map(asCandidate));
    $("fields").value ||= found.fields.join(",");
    counted();
    await rank();
    const took = `${plural(found.documents.length, "document")} found in ${number(1000 * found.seconds)} ms`;
    if (!$("status").classList.contains("error")) say(`${took}, then ranked`);
  } catch (error) {
    failed(error);
  }
}

async function open(file) {
  if (!file) return;
  try {
    $("documents").value = fromFile(file.name, await file.text());
    counted();
    say(`read ${file.name}`);
  } catch (error) {
    say(error.message, true);
  }
}

function failed(error) {
  if (error.status === 401) {
    $("key-label").hidden = false;
    $("key").focus();
  }
  say(error.message, true);
}

// Showing

function show() {
  $("results").hidden = false;
  $("columns").replaceChildren(...state.rankings.map(column));
  measured();
}

function column(ranking, at) {
  if (ranking.failed) return el("section", {}, el("h2", {}, ranking.name), el("p", { class: "note" }, ranking.failed));
  const scores = ranking.results.filter((each) => !each.no_text).map((each) => each.score);
  const shown = ranking.results.slice(0, MOST_SHOWN);
  return el(
    "section",
    { "aria-label": ranking.name, "data-column": at },
    el("h2", {}, ranking.name),
    facts(ranking),
    ...ranking.notes.map((note) => el("p", { class: "note" }, note)),
    el("ol", {}, ...shown.map((each) => result(ranking, each, scores))),
    ranking.results.length > MOST_SHOWN ? el("p", { class: "more" }, `and ${number(ranking.results.length - MOST_SHOWN)} more`) : null,
  );
}

function facts({ usage, score_kind, model, name }) {
  const billed = Object.entries(usage.billed).map(([unit, amount]) => `${number(amount)} ${unit.replaceAll("_", " ")} billed`);
  const parts = [
    model === name ? null : model,
    `${number(1000 * usage.seconds)} ms`,
    usage.tokens === null ? null : `${number(usage.tokens)} tokens`,
    billed.length ? billed.join(", ") : "nothing billed",
    `scores are ${SCORE_KINDS[score_kind]}`,
  ];
  return el("p", { class: "facts" }, parts.filter(Boolean).join(" · "), " · nDCG@10 ", el("strong", { class: "ndcg" }, "–"));
}

function result(ranking, each, scores) {
  const moved = each.index + 1 - each.rank;
  const length = each.no_text ? 0 : bar(each.score, scores, ranking.score_kind);
  const fill = el("span");
  fill.style.width = `${(100 * Math.max(0, Math.min(1, length))).toFixed(1)}%`;
  const text = el("p", { class: "text", title: "why?" }, state.texts[each.index] || "(no text)");
  const item = el(
    "li",
    { class: "result", tabindex: "0", "data-place": each.index },
    el(
      "div",
      { class: "line" },
      el("span", { class: "rank" }, String(each.rank)),
      el("span", { class: `moved ${moved > 0 ? "up" : moved < 0 ? "down" : ""}`, title: `was ${each.index + 1}.` }, arrow(moved)),
      el("span", { class: "bar" }, fill),
      el("span", { title: ranking.score_kind }, each.no_text ? "–" : each.score.toFixed(4)),
      el("span", { class: "judge" }, judge(each.index, 1, "✓", "relevant"), judge(each.index, 0, "✗", "not relevant")),
    ),
    source(state.asked.documents[each.index], state.texts[each.index]),
    text,
    tokens(each),
  );
  text.addEventListener("click", () => why(item, ranking, each));
  item.addEventListener("keydown", (event) => event.key === "Enter" && event.target === item && why(item, ranking, each));
  return item;
}

/** Which record a result is: its id, and its title where the text does not show it. */
function source(found, text) {
  const title = titleOf(found);
  const parts = [idOf(found), title && !text.includes(title) ? title : null].filter(Boolean);
  return parts.length ? el("p", { class: "source" }, parts.join(" · ")) : null;
}

const arrow = (moved) => (moved > 0 ? `▲${moved}` : moved < 0 ? `▼${-moved}` : "=");

function judge(place, grade, sign, says) {
  return el("button", { type: "button", class: "small", "data-grade": grade, "aria-label": says, title: says, "aria-pressed": "false",
    onclick: () => judgedAs(place, grade) }, sign); // prettier-ignore
}

function tokens({ tokens: read, dropped_tokens: dropped, no_text }) {
  if (no_text) return el("p", { class: "more" }, "no text, so not scored");
  if (read === null) return el("p", { class: "more" }, "how much was read is not said");
  const cut = dropped ? el("span", { class: "cut" }, `, ${number(dropped)} dropped`) : "";
  return el("p", { class: "more" }, `${number(read)} tokens read`, cut);
}

// Judging

function judgedAs(place, grade) {
  if (state.judged.get(place) === grade) state.judged.delete(place);
  else state.judged.set(place, grade);
  measured();
}

function measured() {
  for (const item of $("columns").querySelectorAll(".result")) {
    const grade = state.judged.get(Number(item.dataset.place));
    item.dataset.judged = grade ?? "";
    for (const button of item.querySelectorAll("[data-grade]")) button.setAttribute("aria-pressed", String(Number(button.dataset.grade) === grade));
  }
  for (const section of $("columns").querySelectorAll("[data-column]")) {
    const { results } = state.rankings[section.dataset.column];
    const [found, before] = [results.map((each) => each.index), results.map((_, at) => at)].map((order) => ndcg(order, state.judged));
    section.querySelector(".ndcg").textContent = found === null ? "– (judge some)" : `${found.toFixed(3)} (as given ${before.toFixed(3)})`;
  }
}

// Why: each sentence, and each passage of a long text, scored alone by the same reranker

async function why(item, ranking, each) {
  item.classList.toggle("open");
  const text = state.texts[each.index];
  if (!item.classList.contains("open") || item.dataset.why || !text || each.no_text) return;
  item.dataset.why = "asked";
  const found = sentences(text), windows = passages(found);
  if (found.length < 2) return item.append(el("p", { class: "more" }, "one sentence: its score is the document's"));
  const more = el("p", { class: "more" }, "scoring its sentences …");
  item.append(more);
  try {
    const parts = [...found, ...windows].map(([begin, end]) => text.slice(begin, end));
    const said = await ask("/rank", { model: ranking.name, query: state.asked.query, documents: parts });
    const scores = [];
    for (const { index, score } of said.results) scores[index] = score;
    marked(item.querySelector(".text"), text, found, scores, windows, said.score_kind);
    const best = Math.max(...scores.slice(0, found.length));
    const won = windows.length ? ` The passage that scores highest is underlined (${Math.max(...scores.slice(found.length)).toFixed(4)}).` : "";
    more.textContent = `Each sentence scored alone; the strongest colour is the highest, ${best.toFixed(4)}.${won}`;
  } catch (error) {
    delete item.dataset.why;
    more.textContent = error.message;
  }
}

function marked(place, text, found, scores, windows, kind) {
  const alone = scores.slice(0, found.length);
  const won = windows[scores.slice(found.length).reduce((best, score, at, all) => (score > all[best] ? at : best), 0)];
  const [low, high] = [Math.min(...alone), Math.max(...alone)];
  let at = 0;
  const parts = [];
  found.forEach(([begin, end], which) => {
    const strength = high > low ? Math.round((4 * (alone[which] - low)) / (high - low)) : 0;
    const inside = won && begin >= won[0] && end <= won[1] ? " won" : "";
    parts.push(text.slice(at, begin), el("mark", { class: `s${strength}${inside}`, title: `${alone[which].toFixed(4)} (${kind}) alone` }, text.slice(begin, end)));
    at = end;
  });
  place.replaceChildren(...parts, text.slice(at));
}

// Taking it away

async function exported(kind) {
  const body = { model: (state.rankings.find((each) => !each.failed) ?? state.rankings[0]).name, query: state.asked.query, documents: state.asked.documents };
  if (state.asked.rank_by) body.rank_fields = state.asked.rank_by;
  if (kind === "csv") {
    if (!state.judged.size) return say("judge some results first: ✓ or ✗ beside them", true);
    return save("judged.csv", judgedCsv(state.asked.query, state.texts, state.judged, state.asked.documents.map(idOf)));
  }
  const model = state.models.find((each) => each.id === body.model);
  const text = kind === "curl" ? curl(location.origin, body, Boolean($("key").value)) : python({ ...body, model: model?.root ?? body.model });
  try {
    await navigator.clipboard.writeText(text);
    say(`copied as ${kind}`);
  } catch {
    save(kind === "curl" ? "rerank.sh" : "rerank.py", text); // without a clipboard, as over plain HTTP from elsewhere
  }
}

function save(name, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text])), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`saved ${name}`);
}

// Keys

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return event.key === "Enter" && !event.altKey && rank(event);
  const typing = event.target.matches("input, textarea");
  if (typing) return event.key === "Escape" && event.target.blur();
  if (event.key === "/") return event.preventDefault(), $("query").focus();
  const here = event.target.closest?.(".result");
  const [down, across] = { j: [1, 0], k: [-1, 0], l: [0, 1], h: [0, -1] }[event.key] ?? [0, 0];
  if (down || across) return event.preventDefault(), go(here, down, across);
  if (here && (event.key === "r" || event.key === "n")) judgedAs(Number(here.dataset.place), event.key === "r" ? 1 : 0);
}

function go(here, down, across) {
  const columns = [...$("columns").querySelectorAll("[data-column]")].map((section) => [...section.querySelectorAll(".result")]);
  if (!columns.length) return;
  const column = Math.max(0, columns.findIndex((items) => items.includes(here)));
  const row = here ? columns[column].indexOf(here) : -1;
  const there = columns[Math.max(0, Math.min(columns.length - 1, column + across))];
  const item = there[Math.max(0, Math.min(there.length - 1, row + down))];
  item.focus();
  item.scrollIntoView({ block: "nearest" });
}

$("ask").addEventListener("submit", rank);
$("search").addEventListener("click", search);
$("documents").addEventListener("input", counted);
$("file").addEventListener("change", (event) => open(event.target.files[0]));
$("key").addEventListener("change", (event) => (useKey(event.target.value), listModels()));
$("exports").addEventListener("click", (event) => event.target.dataset.export && exported(event.target.dataset.export));
document.addEventListener("keydown", pressed);
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("documents").addEventListener(kind, (event) => {
    event.preventDefault();
    $("documents").classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") open(event.dataTransfer.files[0]);
  });
}
begin();
