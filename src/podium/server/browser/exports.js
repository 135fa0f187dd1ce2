// The request as a curl command or as Python, and the judgements as CSV. An API key is never written.

import { idOf } from "./documents.js";
import { byId, element, showError, showStatus } from "./elements.js";
import { state } from "./state.js";

/** Copies the request as "curl" or "python", or saves the judgements as "csv". */
export async function exportAs(format) {
  if (format === "csv") return saveJudgements();
  const ranking = state.rankings.find((candidate) => !candidate.error) ?? state.rankings[0];
  const { query, documents, rank_by: fields } = state.request;
  const body = { model: ranking.name, query, documents, ...(fields ? { rank_fields: fields } : {}) };
  const model = state.models.find((candidate) => candidate.id === body.model);
  const text = format === "curl" ? curlCommand(location.origin, body, Boolean(byId("key").value)) : pythonCode({ ...body, model: model?.root ?? body.model });
  try {
    await navigator.clipboard.writeText(text);
    showStatus(`copied as ${format}`);
  } catch {
    download(format === "curl" ? "rerank.sh" : "rerank.py", text); // pages from other hosts over plain HTTP have no clipboard
  }
}

function saveJudgements() {
  if (!state.grades.size) return showError("judge some results first, with ✓ or ✗");
  download("judged.csv", judgedCsv(state.request.query, state.texts, state.grades, state.request.documents.map(idOf)));
}

function download(name, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text])), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000); // some browsers begin the download later
  showStatus(`saved ${name}`);
}

function curlCommand(origin, body, needsKey) {
  const quoted = JSON.stringify(body, null, 1).replaceAll("'", "'\\''");
  const key = needsKey ? ' \\\n  -H "Authorization: Bearer $PODIUM_API_KEY"' : "";
  return `curl ${origin}/v2/rerank -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'\n`;
}

/** Returns a Python program that ranks without the server. The order is the same if podium.load knows the model's name. */
function pythonCode(body) {
  const fields = body.rank_fields ? `, rank_by=${pythonLiteral(body.rank_fields)}` : "";
  return [
    "import podium",
    "",
    state.request.passages
      ? `reranker = podium.Reranker(podium.Passages(podium.load(${pythonLiteral(body.model)})))`
      : `reranker = podium.load(${pythonLiteral(body.model)})`,
    `documents = ${pythonLiteral(body.documents)}`,
    `for result in reranker.rerank(${pythonLiteral(body.query)}, documents${fields}):`,
    '    print(f"{result.rank:3}  {result.score:.4f}  {result.document}")',
    "",
  ].join("\n");
}

/** Returns the CSV that podium eval reads: all documents in input order. A document without a judgement has an empty grade. */
function judgedCsv(query, texts, grades, ids) {
  const rows = texts.map((text, index) => [query, text, grades.get(index) ?? "", ids[index] ?? ""]);
  return [["query", "document", "grade", "id"], ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function csvCell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function pythonLiteral(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  const deeper = `${indent}    `;
  if (Array.isArray(value)) return `[\n${value.map((item) => `${deeper}${pythonLiteral(item, deeper)},\n`).join("")}${indent}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, item]) => `${pythonLiteral(key)}: ${pythonLiteral(item, deeper)}`).join(", ")}}`;
  }
  return JSON.stringify(value); // strings and numbers are the same in JSON and Python
}
