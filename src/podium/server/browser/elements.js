// HTML elements and formatted numbers. Text from documents is inserted as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Creates an element. Attributes named on… are event listeners. Attributes that are false, null or undefined are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function showStatus(text) {
  byId("status").textContent = text;
  byId("status").classList.remove("error");
}

export function showError(text) {
  byId("status").textContent = text;
  byId("status").classList.add("error");
}

export const formatNumber = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
export const formatCount = (count, noun) => `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;
export const formatSeconds = (seconds) => `${formatNumber(1000 * seconds)} ms`;
