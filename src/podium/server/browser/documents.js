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
  if (/\.csv$/i.test(name)) return toLines(fromCsv(content));
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

export function fromCsv(content) {
  const [names, ...rows] = cells(content.replace(/^\ufeff/, ""));
  if (!names || !rows.length) throw new Error("the CSV needs a first line of names, and lines after it");
  return rows.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at] ?? ""])));
}

function cells(content) {
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
    else if (!quoted && letter === ",") row.push(cell), (cell = "");
    else if (!quoted && letter === "\n") endRow();
    else if (quoted || letter !== "\r") cell += letter;
  }
  endRow();
  return rows;
}
