// The playground: connects the page's elements to the modules that handle them.

import { byId } from "./elements.js";
import { exportAs } from "./exports.js";
import { handleKey } from "./keyboard.js";
import { changeKey, countDocuments, fillForm, openFile, rank, search } from "./request.js";

byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  rank();
});
byId("search").addEventListener("click", search);
byId("documents").addEventListener("input", countDocuments);
byId("file").addEventListener("change", (event) => openFile(event.target.files[0]));
byId("key").addEventListener("change", (event) => changeKey(event.target.value));
byId("exports").addEventListener("click", (event) => event.target.dataset.export && exportAs(event.target.dataset.export));
document.addEventListener("keydown", handleKey);
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("documents").addEventListener(kind, (event) => {
    event.preventDefault();
    byId("documents").classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") openFile(event.dataTransfer.files[0]);
  });
}
fillForm();
