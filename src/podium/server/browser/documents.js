// Documents from the lines of the form and from files. The server decides which fields of a document are read. Pure functions.

/** Returns a document for each line that is not blank: the object or string that the line has as JSON, or else the line. */
export function parseDocuments(lines) {
  return lines.split(/\r?\n/).filter((line) => line.trim()).map((line) => {
    if (!/^\s*[{"]/.test(line)) return line;
    try {
      const value = JSON.parse(line);
      return typeof value === "string" || isRecord(value) ? value : line;
    } catch {
      return line;
    }
  });
}

/** Returns the lines for a file: the rows of a CSV and the items of a JSON list as JSON, other content unchanged. */
export function linesOfFile(name, content) {
  if (/\.(csv|tsv)$/i.test(name)) return linesOf(csvRecords(content, /\.tsv$/i.test(name) ? "\t" : undefined));
  if (/\.json$/i.test(name)) {
    const documents = JSON.parse(content);
    if (!Array.isArray(documents)) throw new Error(`${name} is not a JSON list of documents`);
    return linesOf(documents);
  }
  return content;
}

/** Returns a line for each document, from which `parseDocuments` makes the same documents. */
export function linesOf(documents) {
  const isPlain = (document) => typeof document === "string" && !/[\r\n]|^\s*[{"]/.test(document);
  return documents.map((document) => (isPlain(document) ? document : JSON.stringify(document))).join("\n");
}

/** Returns the id of a document, or else its key in the index, or else null. */
export function idOf(document) {
  if (!isRecord(document)) return null;
  const id = [document._id, document.id, document.source_key].find((value) => ["string", "number"].includes(typeof value) && value !== "");
  return id === undefined ? null : String(id);
}

/** Returns a document's title, null if it has none. */
export function titleOf(document) {
  return isRecord(document) && typeof document.title === "string" && document.title.trim() ? document.title : null;
}

/** Returns a document of a search without its score and rank in the source. If it has no id, its key becomes its id. */
export function asCandidate(document) {
  if (!isRecord(document)) return document;
  const { source_key: key, source_score: _score, source_rank: _rank, ...fields } = document;
  return key === undefined || idOf(fields) !== null ? fields : { id: key, ...fields };
}

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Returns the rows of a CSV as objects. The default delimiter is the most frequent one in the first line. */
export function csvRecords(content, delimiter) {
  const text = content.replace(/^\ufeff/, "");
  const [names, ...rows] = csvRows(text, delimiter ?? mostFrequentDelimiter(text.split("\n", 1)[0]));
  if (!names || !rows.length) throw new Error("the CSV needs a first line with column names, and rows after it");
  return rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index] ?? ""])));
}

function mostFrequentDelimiter(line) {
  const count = (delimiter) => line.split(delimiter).length;
  return [",", ";", "\t"].reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

function csvRows(content, delimiter) {
  const rows = [];
  let row = [];
  let cell = "";
  let isQuoted = false;
  const endCell = () => {
    row.push(cell);
    cell = "";
  };
  const endRow = () => {
    endCell();
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
  };
  for (let index = 0; index < content.length; index++) {
    const character = content[index];
    if (isQuoted && character === '"' && content[index + 1] === '"') {
      cell += '"';
      index++;
    } else if (character === '"' && (isQuoted || !cell)) isQuoted = !isQuoted;
    else if (!isQuoted && character === delimiter) endCell();
    else if (!isQuoted && character === "\n") endRow();
    else if (isQuoted || character !== "\r") cell += character;
  }
  endRow();
  return rows;
}
