// A text with what a task marks in it: entities, words, tags of words, answers.
//
// Offsets count code points, as Python does; JavaScript's own strings count UTF-16 units.

import { decimal, el, languageOf, percent, words } from "./dom.js";

export const TONES = 8;

/** The colours of labels, in the order of a task's inventory (`B-LOC` and `I-LOC` are both LOC). */
export function tonesOf(labels) {
  const tones = new Map();
  return (label) => {
    if (!tones.size) {
      for (const one of labels ?? []) {
        const plain = String(one).replace(/^[BIMESLU]-/, "");
        if (plain !== "O" && !tones.has(plain)) tones.set(plain, tones.size % TONES);
      }
    }
    if (!tones.has(label)) tones.set(label, tones.size % TONES);
    return tones.get(label);
  };
}

/** *text* with its spans ({start, end, label}) marked; a span that overlaps an earlier one stays unmarked. */
export function marked(text, spans, mark) {
  const characters = Array.from(text);
  const pieces = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (span.start < at || span.end > characters.length || span.end <= span.start) continue;
    if (span.start > at) pieces.push(characters.slice(at, span.start).join(""));
    pieces.push(mark(characters.slice(span.start, span.end).join(""), span));
    at = span.end;
  }
  if (at < characters.length) pieces.push(characters.slice(at).join(""));
  return words("p", { class: "text" }, text, ...pieces);
}

/** Entities: the span in its label's colour, the label behind it. */
export function entity(tone) {
  return (text, span) =>
    el(
      "mark",
      { class: `entity tone-${tone(span.label)}`, title: scored(span) },
      text,
      "\u00a0",
      el("span", { class: "tag", lang: languageOf(span.label) }, span.label),
    );
}

/** Words of a segmentation, which have no label: a box for each. */
export const segment = (text, span) => el("span", { class: "segment", title: scored(span) }, text);

/** A word with its tag under it. */
export function tagged(tone) {
  return (text, span) =>
    el(
      "span",
      { class: "tagged", title: scored(span) },
      el("span", { class: "word" }, text),
      " ",
      el("span", { class: `tag tone-${tone(span.label)}` }, span.label),
    );
}

function scored(span) {
  return span.score === undefined ? null : `${span.label ? `${span.label}, ` : ""}${percent(span.score)}`;
}

/** Spans as a table, folded away. */
export function spanTable(spans) {
  const labelled = spans.some((span) => span.label);
  const head = ["Text", ...(labelled ? ["Label"] : []), "Characters", "Score"];
  const row = (span) => [
    words("td", {}, span.text),
    ...(labelled ? [el("td", {}, span.label)] : []),
    el("td", { class: "number" }, `${span.start}–${span.end}`),
    el("td", { class: "number" }, percent(span.score)),
  ];
  return folded(`${spans.length} ${spans.length === 1 ? "span" : "spans"} as a table`, table(head, spans.map(row)));
}

/** A table that may be wider than its place. */
export function table(head, rows) {
  return el(
    "div",
    { class: "wide" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells))),
    ),
  );
}

/** What is seen when asked for. */
export const folded = (title, ...content) => el("details", {}, el("summary", {}, title), ...content);

/** Names with bars from 0 to 1, the longest first. Each *row*: {name, share, chosen}; more than *most* are folded. */
export function bars(rows, { most = 8, number = percent } = {}) {
  const list = (some) => el("ul", { class: "bars" }, ...some.map((row) => bar(row, number)));
  const sorted = [...rows].sort((a, b) => b.share - a.share);
  const rest = sorted.slice(most);
  return rest.length
    ? [list(sorted.slice(0, most)), folded(`${rest.length} more`, list(rest))]
    : [list(sorted)];
}

function bar({ name, share, chosen, shown }, number) {
  const filling = el("span", { class: "filling" });
  filling.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return el(
    "li",
    { class: chosen ? "chosen" : null },
    words("span", { class: "name" }, name),
    chosen ? el("span", { class: "unseen" }, " (chosen) ") : null,
    el("span", { class: "number" }, shown === undefined ? number(share) : decimal(shown)),
    el("span", { class: "bar", "aria-hidden": "true" }, filling),
  );
}
