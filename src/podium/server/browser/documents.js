// Text of the form, and files → documents. The server decides which of a document's fields are read. Pure functions.

/** Returns a document for each line that is not blank: an object or string if the line is JSON of one, else the line. */
export function parse(lines) {
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
export function fromFile(name, content) {
  if (/\.(csv|tsv)$/i.test(name)) return toLines(fromCsv(content, /\.tsv$/i.test(name) ? "\t" : undefined));
  if (/\.json$/i.test(name)) {
    const documents = JSON.parse(content);
    if (!Array.isArray(documents)) throw new Error(`${name} is not a JSON list of documents`);
    return toLines(documents);
  }
  return content;
}

/** Returns a line for each document. `parse` reads them again. */
export function toLines(documents) {
  const isPlain = (document) => typeof document === "string" && !/[\r\n]|^\s*[{"]/.test(document);
  return documents.map((document) => (isPlain(document) ? document : JSON.stringify(document))).join("\n");
}

/** Returns a document's own id, else the key from its source, else null. */
export function idOf(document) {
  if (!isRecord(document)) return null;
  const id = [document._id, document.id, document.source_key].find((value) => ["string", "number"].includes(typeof value) && value !== "");
  return id === undefined ? null : String(id);
}

/** Returns a document's title, null if it has none. */
export function titleOf(document) {
  return isRecord(document) && typeof document.title === "string" && document.title.trim() ? document.title : null;
}

/** Returns a document of a search without the source's score and rank, and with its key as the id. */
export function asCandidate(document) {
  if (!isRecord(document)) return document;
  const { source_key: key, source_score: _score, source_rank: _rank, ...own } = document;
  return key === undefined || idOf(own) !== null ? own : { id: key, ...own };
}

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Returns the rows of a CSV as objects. The default delimiter is the most frequent one in the first line. */
export function fromCsv(content, delimiter) {
  const text = content.replace(/^\ufeff/, "");
  const [names, ...rows] = cells(text, delimiter ?? mostFrequentDelimiter(text.split("\n", 1)[0]));
  if (!names || !rows.length) throw new Error("the CSV needs a first line with column names, and rows after it");
  return rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index] ?? ""])));
}

function mostFrequentDelimiter(line) {
  const count = (delimiter) => line.split(delimiter).length;
  return [",", ";", "\t"].reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

function cells(content, delimiter) {
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
