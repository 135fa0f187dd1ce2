// What was pasted or dropped → documents. What is read of one, and so shown, is what the server says.

/** One document per line: JSON where a line is an object or a string of it, else the line itself. */
export function parse(lines) {
  return lines.split(/\r?\n/).filter((line) => line.trim()).map((line) => {
    const trimmed = line.trim();
    if (!/^[{"]/.test(trimmed)) return line;
    try {
      const found = JSON.parse(trimmed);
      return typeof found === "string" || (found && typeof found === "object" && !Array.isArray(found)) ? found : line;
    } catch {
      return line;
    }
  });
}

/** The lines that stand for a file: a CSV's rows and a JSON list's members become JSON, the rest stays as it is. */
export function fromFile(name, content) {
  if (/\.(csv|tsv)$/i.test(name)) return toLines(fromCsv(content, /\.tsv$/i.test(name) ? "\t" : undefined));
  if (/\.json$/i.test(name)) {
    const found = JSON.parse(content);
    if (!Array.isArray(found)) throw new Error(`${name} is not a JSON list of documents`);
    return toLines(found);
  }
  return content;
}

export function toLines(documents) {
  return documents.map((each) => (typeof each === "string" && !/[\r\n]|^\s*[{"]/.test(each) ? each : JSON.stringify(each))).join("\n");
}

/** A document's id: its own, else the key its source gave it. Null where it has none. */
export function idOf(found) {
  if (!isRecord(found)) return null;
  const id = [found._id, found.id, found.source_key].find((each) => ["string", "number"].includes(typeof each) && each !== "");
  return id === undefined ? null : String(id);
}

/** A document's title, where it has one. */
export function titleOf(found) {
  return isRecord(found) && typeof found.title === "string" && found.title.trim() ? found.title : null;
}

/** What a search found, as it stands in the box: without its scores and ranks there, and with its key as id. */
export function asCandidate(found) {
  if (!isRecord(found)) return found;
  const { source_key: key, source_score: _score, source_rank: _rank, ...own } = found;
  return key === undefined || idOf(own) !== null ? own : { id: key, ...own };
}

const isRecord = (found) => found !== null && typeof found === "object" && !Array.isArray(found);

/** The rows of a CSV as objects. Unless it is given, the delimiter is the one that is most often in the first line. */
export function fromCsv(content, delimiter) {
  const text = content.replace(/^\ufeff/, "");
  const [names, ...rows] = cells(text, delimiter ?? mostOften(text.split("\n", 1)[0]));
  if (!names || !rows.length) throw new Error("the CSV needs a first line of names, and lines after it");
  return rows.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at] ?? ""])));
}

function mostOften(line) {
  return [",", ";", "\t"].reduce((best, each) => (line.split(each).length > line.split(best).length ? each : best));
}

function cells(content, delimiter) {
  const rows = [];
  let row = [], cell = "", quoted = false;
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
    cell = "";
  };
  for (let at = 0; at < content.length; at++) {
    const letter = content[at];
    if (quoted && letter === '"' && content[at + 1] === '"') (cell += '"'), at++;
    else if (letter === '"' && (quoted || !cell)) quoted = !quoted;
    else if (!quoted && letter === delimiter) row.push(cell), (cell = "");
    else if (!quoted && letter === "\n") endRow();
    else if (quoted || letter !== "\r") cell += letter;
  }
  endRow();
  return rows;
}
