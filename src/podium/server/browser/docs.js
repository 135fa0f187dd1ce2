// The API's description as a page. What it says is the server's /openapi.json, nothing else.

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const described = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, operation] of Object.entries(methods)) document.getElementById("operations").append(section(path, method, operation));
}

function section(path, method, operation) {
  const asked = operation.requestBody?.content["application/json"].schema;
  const shapes = asked ? (asked.anyOf && !asked.properties ? asked.anyOf : [asked]) : [];
  const made = el("section", { id: path }, el("h2", {}, `${method.toUpperCase()} ${path}`), el("p", {}, operation.summary));
  for (const shape of shapes.filter(({ properties }) => properties)) made.append(...(shapes.length > 1 ? [el("h3", {}, shape.title)] : []), fields(shape));
  if (shapes.length) made.append(el("pre", {}, example(path, shapes.at(-1))));
  const refused = Object.entries(operation.responses).filter(([status]) => status !== "200");
  if (refused.length) made.append(el("p", { class: "faint" }, refused.map(([status, { description }]) => `${status} ${description}`).join(" · ")));
  return made;
}

function fields(shape) {
  const rows = Object.entries(shape.properties).map(([name, field]) =>
    el("tr", {}, el("td", {}, el("code", {}, name), shape.required?.includes(name) ? " *" : ""), el("td", { class: "faint" }, kind(field)), el("td", {}, field.description ?? "")),
  );
  return el("table", {}, el("tbody", {}, ...rows));
}

function kind(field) {
  if (field.anyOf) return field.anyOf.map(kind).join(" or ");
  const names = [field.type].flat().filter((name) => name && name !== "null");
  return names.map((name) => (name === "array" ? `list of ${kind(field.items ?? {})}` : name)).join(" or ");
}

function example(path, { properties, required }) {
  const one = { query: "capital of the USA", documents: ["Ottawa …", "Washington …"], texts: ["Ottawa …", "Washington …"], text_1: "capital of the USA", text_2: ["Ottawa …"] };
  const body = Object.fromEntries(Object.keys(properties).filter((name) => required.includes(name)).map((name) => [name, one[name]]));
  const key = described.components ? ' -H "Authorization: Bearer $PODIUM_API_KEY"' : "";
  return `curl ${location.origin}${path} -H 'Content-Type: application/json'${key} \\\n  -d '${JSON.stringify(body)}'`;
}
