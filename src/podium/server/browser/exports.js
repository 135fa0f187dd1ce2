// What was asked, as something to run elsewhere. Pure. The key is never written out.

export function curl(origin, body, keyed) {
  const quoted = JSON.stringify(body, null, 1).replaceAll("'", "'\\''");
  const key = keyed ? ' \\\n  -H "Authorization: Bearer $PODIUM_API_KEY"' : "";
  return `curl ${origin}/v2/rerank -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'\n`;
}

/** Python that gives the same order without the server, where the model has the same name there. */
export function python(body) {
  const by = body.rank_fields ? `, rank_by=${literal(body.rank_fields)}` : "";
  return [
    "import podium",
    "",
    `reranker = podium.load(${literal(body.model)})`,
    `documents = ${literal(body.documents)}`,
    `for result in reranker.rerank(${literal(body.query)}, documents${by}):`,
    '    print(f"{result.rank:3}  {result.score:.4f}  {result.document}")',
    "",
  ].join("\n");
}

/** The CSV that podium eval reads: every candidate in the order given, with an empty grade where it was not judged. */
export function judgedCsv(query, texts, judged, ids) {
  const rows = texts.map((text, place) => [query, text, judged.get(place) ?? "", ids[place] ?? ""]);
  return [["query", "document", "grade", "id"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function literal(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  const deeper = `${indent}    `;
  if (Array.isArray(value)) return `[\n${value.map((each) => `${deeper}${literal(each, deeper)},\n`).join("")}${indent}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, each]) => `${literal(key)}: ${literal(each, deeper)}`).join(", ")}}`;
  }
  return JSON.stringify(value); // strings and numbers are written alike in both
}
