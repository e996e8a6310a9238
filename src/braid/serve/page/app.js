// The page: inputs on one side, a card for each task on the other.

import { byId, el } from "./dom.js";
import { asCurl, asPython, requestsOf } from "./request.js";
import { ranking, view } from "./views.js";

const PAUSE = 400; // milliseconds without a key after which text is predicted
const HEALTH = 15000;
const THEMES = ["auto", "light", "dark"];

const state = { models: {}, default: null, chosen: new Map(), key: null, running: null, timer: null };

const base = () => new URL(".", document.baseURI).href;
const model = () => state.models[byId("model").value];
const tasks = () => model()?.tasks ?? {};
const lines = (id) => byId(id).value.split("\n").map((line) => line.trim()).filter(Boolean);

function send(path, options = {}) {
  const headers = { ...options.headers, ...(state.key ? { authorization: `Bearer ${state.key}` } : {}) };
  return fetch(new URL(path, base()), { ...options, headers }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached. Is it running?");
  });
}

async function ask(path, options) {
  const answer = await send(path, options);
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const said = body?.error ?? {};
  const again = answer.headers.get("retry-after");
  const wait = answer.status === 429 && again ? ` Come again in ${again} s.` : "";
  throw Object.assign(new Error(`${said.message ?? `the server answered ${answer.status}`}${wait}`), {
    status: answer.status,
    where: said.where ?? null,
  });
}

async function start() {
  try {
    const found = await ask("tasks");
    state.models = {};
    for (const [name, facts] of Object.entries(found.models)) {
      const predicting = Object.entries(facts.tasks).filter(([, task]) => task.predicts);
      state.models[name] = { tasks: Object.fromEntries(predicting) };
    }
    state.default = found.default;
  } catch (error) {
    problem(error, start);
    return;
  }
  problem(null);
  byId("routes").hidden = false;
  const names = Object.keys(state.models);
  byId("model").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  byId("model").value = state.default;
  byId("model-row").hidden = names.length < 2;
  useModel();
}

function useModel() {
  const all = Object.entries(tasks());
  const types = new Set(all.map(([, task]) => task.type));
  state.chosen = new Map(all.map(([name]) => [name, true]));
  byId("tasks").replaceChildren(...all.map(chip));
  byId("example").replaceChildren(...all.map(([name]) => el("option", { value: name }, name)));
  byId("pair-row").hidden = false;
  byId("options-row").hidden = !types.has("multiple_choice");
  byId("candidates-row").hidden = !types.has("ranking");
  for (const id of ["predict", "fill", "all", "none"]) byId(id).disabled = !all.length;
  if (!all.length) {
    byId("cards").replaceChildren(el("p", { class: "hint" }, "No task of this model says anything of new texts."));
    byId("latency").textContent = "";
    return;
  }
  if (!byId("text").value) fill(all[0][1].example);
  predict();
}

function chip([name, task]) {
  const box = el("input", {
    type: "checkbox",
    checked: true,
    onchange: () => {
      state.chosen.set(name, box.checked);
      predict();
    },
  });
  return el("label", { class: "chip" }, box, el("span", {}, name), el("span", { class: "quiet" }, task.type));
}

function chooseAll(value) {
  for (const name of state.chosen.keys()) state.chosen.set(name, value);
  for (const box of byId("tasks").querySelectorAll("input")) box.checked = value;
  predict();
}

function fill(example) {
  if (!example) return;
  byId("words").checked = Boolean(example.words);
  byId("text").value = example.words ? example.words.join(" ") : (example.text ?? "");
  byId("pair").value = example.pair ?? "";
  byId("options").value = (example.options ?? []).join("\n");
  byId("candidates").value = "";
}

function planned() {
  const chosen = [...state.chosen].filter(([, on]) => on).map(([name]) => name);
  const inputs = {
    text: byId("text").value,
    pair: byId("pair").value.trim() ? byId("pair").value : "",
    options: byId("options-row").hidden ? [] : lines("options"),
    candidates: byId("candidates-row").hidden ? [] : lines("candidates"),
    divided: byId("words").checked,
  };
  const several = Object.keys(state.models).length > 1;
  return { chosen, ...requestsOf(inputs, { model: several ? byId("model").value : null, tasks: tasks(), chosen }) };
}

async function predict() {
  clearTimeout(state.timer);
  state.running?.abort();
  const running = (state.running = new AbortController());
  if (!byId("text").value.trim()) {
    byId("cards").replaceChildren(el("p", { class: "hint" }, "Type a text to see what the tasks say of it."));
    byId("latency").textContent = "";
    showCode([]);
    return;
  }
  const plan = planned();
  const bodies = plan.requests.map((request) => request.body);
  showCode(bodies);
  byId("results").setAttribute("aria-busy", "true");
  const began = performance.now();
  try {
    const answers = await Promise.all(
      bodies.map((body) =>
        ask("predict", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
          signal: running.signal,
        }),
      ),
    );
    if (running.signal.aborted) return;
    const milliseconds = performance.now() - began;
    problem(null);
    show(plan, answers);
    tellLatency(answers, milliseconds, plan.chosen.length);
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("latency").textContent = "";
    byId("cards").replaceChildren();
    problem(error, error.status === 401 ? start : predict);
  } finally {
    if (state.running === running) byId("results").setAttribute("aria-busy", "false");
  }
}

function show(plan, answers) {
  let row = {};
  let candidates = [];
  plan.requests.forEach((request, k) => {
    if (request.kind === "row") row = answers[k].results[0];
    else candidates = answers[k].results;
  });
  byId("cards").replaceChildren(...plan.chosen.map((name) => card(name, tasks()[name], row, candidates, plan.lacking[name])));
  if (!plan.chosen.length) byId("cards").append(el("p", { class: "hint" }, "No task is chosen."));
}

function card(name, task, row, candidates, lack) {
  const ranked = candidates.filter((one) => one[name]).map((one) => ({ pair: one.pair, prediction: one[name] }));
  let content;
  try {
    if (lack) content = lacks(`It needs ${lack}.`, task);
    else if (ranked.length) content = ranking(ranked);
    else if (row[name] === undefined) content = lacks("It cannot read this input; it may need a second text.", task);
    else content = view(row[name], row, task);
  } catch (error) {
    content = [el("p", { class: "problem" }, `This prediction cannot be shown: ${error.message}`)];
  }
  const heading = el("h3", {}, name, " ", el("span", { class: "quiet" }, task.type));
  return el("article", { class: "card", "data-task": name, "data-type": task.type, "aria-label": `${name}, ${task.type}` }, heading, ...content);
}

function lacks(what, task) {
  const button = el("button", { type: "button", onclick: () => { fill(task.example); predict(); byId("text").focus(); } }, "Fill in its example");
  return [el("p", { class: "hint" }, what), task.example ? button : null].filter(Boolean);
}

/** Milliseconds as the browser sees them, and by the server's stages, all requests together. */
function tellLatency(answers, milliseconds, count) {
  const sums = {};
  for (const { milliseconds: parts } of answers) {
    for (const [stage, value] of Object.entries(parts ?? {})) sums[stage] = (sums[stage] ?? 0) + value;
  }
  const { total, ...rest } = sums;
  const said = Object.entries(rest).map(([stage, value]) => `${stage} ${value.toFixed(1)}`);
  const requests = answers.length > 1 ? ` in ${answers.length} requests` : "";
  const stages = total === undefined ? "" : ` · server ${total.toFixed(1)} ms${requests} (${said.join(", ")})`;
  byId("latency").textContent = `${count} ${count === 1 ? "task" : "tasks"} in ${milliseconds.toFixed(0)} ms${stages}`;
}

/** What went wrong and what to do; null: nothing. */
function problem(error, again) {
  const place = byId("problem");
  if (error === null) {
    if (place.firstChild) place.replaceChildren();
    return;
  }
  const where = error.where ? ` (${error.where})` : "";
  place.replaceChildren(
    el("p", { class: "problem" }, `${error.message}${where}`),
    error.status === 401 ? keyForm(again) : el("p", {}, el("button", { type: "button", onclick: again }, "Try again")),
  );
}

function keyForm(again) {
  byId("routes").hidden = true; // They want the key too.
  const field = el("input", { type: "password", id: "key", autocomplete: "off" });
  const use = (event) => {
    event.preventDefault();
    state.key = field.value;
    again();
  };
  return el("form", { class: "row", onsubmit: use }, el("label", { for: "key" }, "Key"), field, el("button", {}, "Use"));
}

function showCode(bodies) {
  byId("curl").textContent = bodies.length ? asCurl(base(), bodies, Boolean(state.key)) : "";
  byId("python").textContent = bodies.length ? asPython(base(), bodies, Boolean(state.key)) : "";
}

async function copy(id) {
  const text = byId(id).textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https browsers give no clipboard: mark the text and let them copy the marked part.
    getSelection().selectAllChildren(byId(id));
    done = document.execCommand("copy");
  }
  byId("copied").textContent = done ? `Copied as ${id === "curl" ? "curl" : "Python"}.` : "The text is marked: copy it with Ctrl+C.";
}

async function health() {
  if (!document.hidden) {
    const place = byId("health");
    let said;
    try {
      const answer = await fetch(new URL("health", base()));
      said = (await answer.json().catch(() => ({}))).status ?? (answer.ok ? "ready" : "not ready");
    } catch {
      said = "unreachable";
    }
    if (place.textContent !== said) place.textContent = said;
    place.dataset.status = said;
  }
  setTimeout(health, HEALTH);
}

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
  byId("theme").onclick = () => theme(THEMES[(THEMES.indexOf(name) + 1) % THEMES.length]);
  try {
    localStorage.setItem("braid-theme", name);
  } catch {
    // Private windows may keep nothing: the theme then lasts as long as the page.
  }
}

function remembered() {
  try {
    const name = localStorage.getItem("braid-theme");
    return THEMES.includes(name) ? name : "auto";
  } catch {
    return "auto";
  }
}

function changed(event) {
  clearTimeout(state.timer);
  if (event.isComposing || !byId("live").checked) return;
  state.timer = setTimeout(predict, PAUSE);
}

for (const id of ["text", "pair", "options", "candidates"]) {
  byId(id).addEventListener("input", changed);
  byId(id).addEventListener("compositionend", changed);
}
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predict();
});
byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await predict();
  // On a phone the predictions stand below the form.
  if (byId("results").getBoundingClientRect().top > innerHeight - 80) byId("results").scrollIntoView();
});
byId("routes").addEventListener("click", async (event) => {
  if (!state.key) return;
  event.preventDefault(); // A link cannot tell the key.
  try {
    const answer = await send("docs");
    location.assign(URL.createObjectURL(await answer.blob()));
  } catch (error) {
    problem(error, start);
  }
});
byId("words").addEventListener("change", predict);
byId("model").addEventListener("change", useModel);
byId("fill").addEventListener("click", () => {
  fill(tasks()[byId("example").value]?.example);
  predict();
});
byId("all").addEventListener("click", () => chooseAll(true));
byId("none").addEventListener("click", () => chooseAll(false));
byId("copy-curl").addEventListener("click", () => copy("curl"));
byId("copy-python").addEventListener("click", () => copy("python"));
theme(remembered());
health();
start();
