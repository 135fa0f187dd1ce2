// The form: models, documents, the search of the index, and the request for rankings.

import { asCandidate, linesOfFile, parseDocuments, linesOf } from "./documents.js";
import { byId, element, formatCount, formatSeconds, showError, showStatus } from "./elements.js";
import { showResults } from "./results.js";
import { send, setApiKey } from "./server.js";
import { state } from "./state.js";

const MAX_RERANKERS = 3;
const EXAMPLE = [
  "Capital punishment has existed in the United States for centuries. Some of the states have abolished it.",
  "Carson City is the capital of Nevada.",
  "Venture capital is money for young companies. Most of it is spent in California.",
  "The city has no senator. It lies on land that two states gave. Washington, D.C. is the capital of the United States.",
  "Ottawa is the capital of Canada.",
];

export async function fillForm() {
  setDocuments(EXAMPLE);
  await listModels();
}

/** Shows the models of the server, and requests a key if the server needs one. */
export async function listModels() {
  try {
    const reply = await send("/v1/models");
    state.models = reply.data;
    byId("search").hidden = byId("candidates-label").hidden = !reply.search;
    byId("models").replaceChildren(byId("models").querySelector("legend"), ...state.models.map(modelCheckbox));
    byId("key-label").hidden = byId("key-label").hidden && !byId("key").value;
    showStatus(state.models.length ? "" : "the models are still loading");
    if (!state.models.length) setTimeout(listModels, 500);
  } catch (error) {
    handleError(error);
  }
}

export async function changeKey(key) {
  setApiKey(key);
  await listModels();
}

export function countDocuments() {
  byId("count").textContent = formatCount(parseDocuments(byId("documents").value).length, "document");
}

export async function openFile(file) {
  if (!file) return;
  try {
    byId("documents").value = linesOfFile(file.name, await file.text());
    countDocuments();
    showStatus(`opened ${file.name}`);
  } catch (error) {
    showError(error.message);
  }
}

/** Replaces the documents by the documents that the index returns for the query, and ranks these. */
export async function search() {
  const query = byId("query").value;
  if (!query.trim()) return showError("missing: a query");
  showStatus("searching …");
  try {
    const reply = await send("/search", { query, candidates: Number(byId("candidates").value) || 20 });
    if (!reply.documents.length) return showError("the index has no documents for this query");
    setDocuments(reply.documents.map(asCandidate));
    byId("fields").value ||= reply.fields.join(",");
    const ranked = await rank();
    if (ranked) showStatus(`${formatCount(reply.documents.length, "document")} found in ${formatSeconds(reply.seconds)} and ranked`);
  } catch (error) {
    handleError(error);
  }
}

/** Ranks the documents with each selected reranker and shows the results. Returns whether all succeeded. */
export async function rank() {
  const request = requestFromForm();
  const names = selectedModels();
  if (!state.models.length) return listModels(); // shows why there are none, such as a missing key
  const missing = missingInputs(request, names);
  if (missing.length) return showError(`missing: ${missing.join(", ")}`);
  showStatus("ranking …");
  byId("rank").disabled = true;
  const start = performance.now();
  try {
    const rankings = await Promise.all(names.map((name) => rankWith(name, request)));
    if (!hasSameQueryAndDocuments(request, state.request)) state.grades = new Map();
    Object.assign(state, { request, rankings, texts: textsOf(request, rankings) });
    showResults();
    const failures = rankings.filter((ranking) => ranking.error).length;
    const time = formatSeconds((performance.now() - start) / 1000);
    if (!failures) showStatus(`${formatCount(request.documents.length, "document")} ranked in ${time}`);
    else showError(failures < rankings.length ? `${failures} of ${rankings.length} rerankers failed` : "ranking failed");
    return !failures;
  } catch (error) {
    handleError(error);
  } finally {
    byId("rank").disabled = false;
  }
}

function requestFromForm() {
  const fields = byId("fields").value.split(",").map((name) => name.trim()).filter(Boolean);
  const request = { query: byId("query").value, documents: parseDocuments(byId("documents").value) };
  if (byId("passages").checked) request.passages = true;
  return fields.length ? { ...request, rank_by: fields } : request;
}

function missingInputs(request, names) {
  const inputs = [[request.query.trim(), "a query"], [request.documents.length, "documents"], [names.length, "a reranker"]];
  return inputs.filter(([value]) => !value).map(([, name]) => name);
}

async function rankWith(name, request) {
  try {
    return { name, ...(await send("/rank", { model: name, ...request })) };
  } catch (error) {
    if (error.status === 401) throw error;
    return { name, error: error.message }; // the results of other rerankers are shown
  }
}

function hasSameQueryAndDocuments(request, other) {
  return other?.query === request.query && JSON.stringify(other.documents) === JSON.stringify(request.documents);
}

function textsOf(request, rankings) {
  const texts = request.documents.map(() => "");
  const ranking = rankings.find((candidate) => !candidate.error);
  for (const { index, text } of ranking?.results ?? []) texts[index] = text ?? "";
  return texts;
}

function setDocuments(documents) {
  byId("documents").value = linesOf(documents);
  countDocuments();
}

function selectedModels() {
  return [...byId("models").querySelectorAll("input:checked")].map((box) => box.value);
}

function modelCheckbox(model, index) {
  const limitSelection = (event) => {
    if (selectedModels().length > MAX_RERANKERS) event.target.checked = false;
  };
  const box = element("input", { type: "checkbox", value: model.id, checked: index === 0, onchange: limitSelection });
  return element("label", {}, box, ` ${model.id}`);
}

function handleError(error) {
  if (error.status === 401) {
    byId("key-label").hidden = false;
    byId("key").focus();
  }
  showError(error.message);
}
