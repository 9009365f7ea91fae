/** Building elements. Text enters as text nodes only; nothing is ever parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** Paths on a 24 x 24 grid, drawn as strokes. */
const ICONS = {
  alert: "M12 8v5m0 3.2v.1M12 3 2.5 20h19L12 3Z",
  clock: "M12 7v5l3 2m6-2a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  close: "M6 6l12 12M18 6 6 18",
  down: "M12 5v14m-6-6 6 6 6-6",
  edit: "M4 20h4L19 9l-4-4L4 16v4Zm9.5-13.5 4 4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  smile: "M8.5 14.5a4.2 4.2 0 0 0 7 0M9 9.5v.5m6-.5v.5m6 2a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  star: "m12 3.8 2.5 5.2 5.7.8-4.1 4 1 5.7L12 16.8l-5.1 2.7 1-5.7-4.1-4 5.7-.8L12 3.8Z",
  up: "M12 19V5m-6 6 6-6 6 6",
  trash: "M4 7h16m-10 4v6m4-6v6M6 7l1 13h10l1-13M9 7V4h6v3",
};

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `text` sets the text, `on*` adds a listener, null and false leave out
 * @param {...(Node|null)} children
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** @param {string} id @returns {any} an element of index.html @throws if index.html has no such element */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element "${id}"`);
  return element;
}
