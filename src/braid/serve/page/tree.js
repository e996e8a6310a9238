// A dependency tree: words in a row, arcs from heads to dependents above them.

import { el, languageOf, percent, svg } from "./dom.js";
import { folded, table } from "./text.js";

const WORD = "16px system-ui, sans-serif";
const RELATION = "12px system-ui, sans-serif";
const STEP = 26; // height of a level of arcs
const GAP = 18; // between words

/** The view of {heads, relations} on the words of a row; words count from 1, head 0 is the root. */
export function tree(prediction, tokens) {
  const { heads, relations } = prediction;
  if (heads.length !== tokens.length) return [list(prediction, tokens)];
  const links = heads.map((head, k) => ({ head: head - 1, dependent: k, relation: relations[k] }));
  const told = links.map(({ head, dependent, relation }) =>
    head < 0 ? `${tokens[dependent]} is the root` : `${tokens[dependent]}: ${relation} of ${tokens[head]}`,
  );
  return [
    el("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Tree" }, drawing(links, tokens, told.join("; "))),
    el("p", { class: "hint" }, `Mean probability of its arcs: ${percent(prediction.score)}`),
    folded("Heads and relations as a table", list(prediction, tokens)),
  ];
}

function list({ heads, relations }, tokens) {
  const name = (k) => tokens[k] ?? `word ${k + 1}`;
  return table(
    ["", "Word", "Relation", "Head"],
    heads.map((head, k) => [
      el("td", { class: "number" }, String(k + 1)),
      el("td", { lang: languageOf(name(k)) }, name(k)),
      el("td", {}, relations[k]),
      el("td", {}, head === 0 ? "root" : `${head} ${name(head - 1)}`),
    ]),
  );
}

function drawing(links, tokens, told) {
  const arcs = levelled(links.filter((link) => link.head >= 0));
  const x = places(arcs, tokens);
  const width = (x.at(-1) ?? 0) + measure(tokens.at(-1) ?? "", WORD) / 2 + GAP;
  const top = 1 + Math.max(0, ...arcs.map((arc) => arc.level));
  const base = 16 + top * STEP;
  const height = base + 30;
  const picture = svg(
    "svg",
    { class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": told },
    svg(
      "defs",
      {},
      svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        svg("path", { d: "M0 0L8 4L0 8z" })),
    ),
  );
  const labels = [];
  for (const arc of arcs) {
    const side = Math.sign(arc.dependent - arc.head);
    const [from, to] = [x[arc.head] + 5 * side, x[arc.dependent] - 5 * side];
    const y = base - arc.level * STEP;
    const bend = Math.min(8, Math.abs(to - from) / 2) * side;
    picture.append(svg("path", {
      class: "arc",
      d: `M${from} ${base}V${y + 8}Q${from} ${y} ${from + bend} ${y}H${to - bend}Q${to} ${y} ${to} ${y + 8}V${base}`,
      "marker-end": "url(#arrow)",
    }));
    labels.push(relation((from + to) / 2, y + 4, arc.relation));
  }
  for (const { head, dependent, relation: name } of links) {
    if (head >= 0) continue;
    picture.append(svg("path", { class: "arc", d: `M${x[dependent]} 14V${base}`, "marker-end": "url(#arrow)" }));
    labels.push(relation(x[dependent], 12, name));
  }
  tokens.forEach((token, k) => {
    picture.append(svg("text", { class: "word", x: x[k], y: base + 20, lang: languageOf(token) }, token));
  });
  picture.append(...labels);
  return picture;
}

const relation = (x, y, name) => svg("text", { class: "relation", x, y }, name);

/** Arcs with a level each: above all that lie under them. */
function levelled(links) {
  const arcs = links.map((link) => ({
    ...link,
    left: Math.min(link.head, link.dependent),
    right: Math.max(link.head, link.dependent),
    level: 1,
  }));
  arcs.sort((a, b) => a.right - a.left - (b.right - b.left));
  arcs.forEach((arc, k) => {
    for (const other of arcs.slice(0, k)) {
      if (other.left < arc.right && arc.left < other.right) arc.level = Math.max(arc.level, other.level + 1);
    }
  });
  return arcs;
}

/** The middle of each word: words do not touch, and an arc is as wide as its relation. */
function places(arcs, tokens) {
  const widths = tokens.map((token) => measure(token, WORD));
  const x = [];
  tokens.forEach((_, k) => {
    x[k] = k ? x[k - 1] + (widths[k - 1] + widths[k]) / 2 + GAP : GAP + widths[0] / 2;
    for (const arc of arcs) {
      if (arc.right === k) x[k] = Math.max(x[k], x[arc.left] + measure(arc.relation, RELATION) + 30);
    }
  });
  return x;
}

let canvas = null;

function measure(text, font) {
  canvas ??= document.createElement("canvas").getContext("2d");
  canvas.font = font;
  return canvas.measureText(text).width;
}
