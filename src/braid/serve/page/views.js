// One view for each task type's prediction, by the type's name. A type that is not here is shown as JSON.
//
// A view gets the prediction, the row that it was made on (`text`, `pair`, `words`, `options`), and what /tasks says
// of the task; it gives a list of elements.

import { decimal, el, percent, words } from "./dom.js";
import { bars, entity, marked, segment, spanTable, tagged, tonesOf } from "./text.js";
import { tree } from "./tree.js";
import { wordsOf } from "./words.js";

const VIEWS = {
  classification: ({ label, probabilities }) => [
    headline(label),
    ...bars(shares(probabilities, (name) => name === label)),
  ],

  multilabel: ({ labels, probabilities }) => [
    labels.length ? el("p", { class: "chosen-labels" }, ...labels.flatMap((name) => [words("strong", {}, name), " "]))
      : el("p", { class: "headline quiet" }, "no label"),
    ...bars(shares(probabilities, (name) => labels.includes(name))),
  ],

  regression: ({ value }) => [headline(decimal(value))],

  tagging: ({ spans, tags }, row, task) => {
    const tone = tonesOf(task.labels);
    const plain = spans.length === tags.length && spans.every((span, k) => span.label === tags[k] && span.label);
    const mark = plain ? tagged(tone) : spans.some((span) => span.label) ? entity(tone) : segment;
    if (!spans.length) return [words("p", { class: "text" }, row.text), el("p", { class: "hint" }, "It marks nothing.")];
    return [marked(row.text, spans, mark), spanTable(spans)];
  },

  ranking: ({ score, rank }, row) => [
    headline(decimal(score)),
    el("p", { class: "hint" }, `rank ${rank}; give candidates to see them ranked`),
    words("p", { class: "text" }, row.pair ?? ""),
  ],

  span: ({ text, start, end, score, nbest }, row) => {
    const found = start === null ? [] : [{ start, end, label: "answer", score }];
    return [
      start === null ? el("p", { class: "headline quiet" }, "no answer in the second text") : headline(text),
      el("p", { class: "hint" }, `probability ${percent(score)}`),
      marked(row.pair ?? "", found, (answer) => el("mark", { class: "entity tone-0" }, answer)),
      ...(nbest?.length > 1 ? bars(nbest.map((one) => ({ name: one.text, share: one.score, chosen: one.start === start && one.end === end }))) : []),
    ];
  },

  multiple_choice: ({ option, index, probabilities }, row) => [
    headline(option),
    ...bars(probabilities.map((share, k) => ({ name: row.options?.[k] ?? String(k), share, chosen: k === index }))),
  ],

  seq2seq: ({ text, score }) => [
    words("p", { class: "text headline" }, text || "(nothing)"),
    el("p", { class: "hint" }, `score ${decimal(score)}`),
  ],

  similarity: ({ cosine, value }) => {
    const needle = el("span", { class: "needle" });
    needle.style.left = `${50 * (1 + Math.min(1, Math.max(-1, cosine)))}%`;
    return [
      headline(decimal(cosine)),
      el("div", { class: "gauge", "aria-hidden": "true" }, needle),
      el("p", { class: "ends", "aria-hidden": "true" }, el("span", {}, "−1"), el("span", {}, "0"), el("span", {}, "1")),
      el("p", { class: "hint" }, value === null ? "cosine of both texts" : `cosine; in the labels' units ${decimal(value)}`),
    ];
  },

  dependency: (prediction, row) => tree(prediction, row.words ?? wordsOf(row.text)),
};

/** The view of a prediction. */
export function view(prediction, row, task) {
  const draw = VIEWS[task.type];
  return draw ? draw(prediction, row, task) : [el("pre", { tabindex: "0" }, JSON.stringify(prediction, null, 2))];
}

/** The candidates of a query, the best one first: [{pair, prediction}]. */
export function ranking(found) {
  const scores = found.map((one) => one.prediction.score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const share = (score) => (high > low ? (score - low) / (high - low) : 1);
  const sorted = [...found].sort((a, b) => a.prediction.rank - b.prediction.rank);
  const rows = sorted.map(({ pair, prediction }) => ({
    name: `${prediction.rank}. ${pair}`,
    share: share(prediction.score),
    shown: prediction.score,
    chosen: prediction.rank === 1,
  }));
  return [...bars(rows, { most: 20 }), el("p", { class: "hint" }, "Scores have no unit: they are compared within a query.")];
}

const headline = (text) => words("p", { class: "headline" }, text);

function shares(probabilities, chosen) {
  return Object.entries(probabilities).map(([name, share]) => ({ name, share, chosen: chosen(name) }));
}
