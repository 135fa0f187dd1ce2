// The API's documentation, made from the server's /openapi.json.

import { byId, element } from "./elements.js";

const EXAMPLES = {
  query: "capital of the USA",
  documents: ["Ottawa …", "Washington …"],
  input: ["Ottawa …", "Washington …"],
  texts: ["Ottawa …", "Washington …"],
  text_1: "capital of the USA",
  text_2: ["Ottawa …"],
  passages: [{ text: "Ottawa …" }, { text: "Washington …" }],
  property: "content",
};

const description = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(methods)) byId("operations").append(section(path, method, operation));
}

function section(path, method, operation) {
  const heading = element("h2", {}, `${method.toUpperCase()} ${path}`);
  const node = element("section", { id: path }, heading, element("p", {}, operation.summary));
  const schemas = requestSchemas(operation);
  for (const schema of schemas) node.append(...(schemas.length > 1 ? [element("h3", {}, schema.title)] : []), fieldTable(schema));
  if (schemas.length) node.append(element("pre", {}, curlExample(path, schemas[0])));
  const errors = Object.entries(operation.responses).filter(([status]) => status !== "200");
  const errorList = errors.map(([status, response]) => `${status} ${response.description}`).join(" · ");
  if (errors.length) node.append(element("p", { class: "faint" }, errorList));
  return node;
}

/** Returns the schemas of an operation's request, one per dialect. */
function requestSchemas(operation) {
  const schema = operation.requestBody?.content["application/json"].schema;
  return schema ? (schema.anyOf ?? [schema]) : [];
}

function fieldTable({ properties, required }) {
  const rows = Object.entries(properties).map(([name, field]) =>
    element(
      "tr",
      {},
      element("td", {}, element("code", {}, name), required.includes(name) ? " *" : ""),
      element("td", { class: "faint" }, typeName(field)),
      element("td", {}, field.description ?? ""),
    ),
  );
  return element("table", {}, element("tbody", {}, ...rows));
}

function typeName(field) {
  if (field.anyOf) return field.anyOf.map(typeName).filter(Boolean).join(" or ");
  const names = [field.type].flat().filter((name) => name && name !== "null");
  return names.map((name) => (name === "array" ? `list of ${typeName(field.items ?? {})}` : name)).join(" or ");
}

function curlExample(path, { properties, required }) {
  const names = Object.keys(properties).filter((name) => required.includes(name));
  const example = (name) => (properties[name].type === "object" ? { text: EXAMPLES[name] } : EXAMPLES[name]);
  const body = Object.fromEntries(names.map((name) => [name, example(name)]));
  const key = description.components ? ' -H "Authorization: Bearer $PODIUM_API_KEY"' : "";
  return `curl ${location.origin}${path} -H 'Content-Type: application/json'${key} \\\n  -d '${JSON.stringify(body)}'`;
}
