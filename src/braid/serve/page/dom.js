// Elements from data. Strings become text nodes, never markup, so that nothing that a user or a model says is run.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`onclick` and its like are listeners; null and false leave one out) and children. */
export function el(name, attributes = {}, ...children) {
  return furnished(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return furnished(document.createElementNS(SVG, name), attributes, children);
}

function furnished(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.replace(/^on/, ""), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of the page by its id. */
export const byId = (id) => document.getElementById(id);

/** The language of a text, as far as it decides which shapes its characters have; null: the page's. */
export function languageOf(text) {
  if (/[\u3040-\u30ff]/.test(text)) return "ja";
  if (/[\uac00-\ud7af]/.test(text)) return "ko";
  return /\p{Script=Han}/u.test(text) ? "zh-Hans" : null;
}

/** An element that shows a text as it is: its spaces and lines, in its language and direction. */
export function words(name, attributes, text, ...children) {
  const shown = children.length ? children : [text];
  return el(name, { lang: languageOf(text), dir: "auto", ...attributes }, ...shown);
}

/** A share of 1 as a percentage; as many digits as say something. */
export function percent(share) {
  const value = 100 * share;
  if (!Number.isFinite(value)) return "–";
  if (value > 0 && value < 0.1) return "<0.1%";
  if (value < 100 && value > 99.9) return ">99.9%";
  return `${value.toFixed(1)}%`;
}

/** A number with three decimals, a true minus sign. */
export function decimal(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace("-", "−") : "–";
}
