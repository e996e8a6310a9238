// What is sent to the server, and the same as a command and as a program.

/** The requests that one look at the inputs takes: the row for all tasks, and a row for each candidate to rank.
 *
 * *inputs*: {text, pair, options, candidates, divided}; *tasks*: all tasks of the model by name; *chosen*: names.
 * A task that lacks something is in `lacking`, with what it lacks. Without `tasks` in a body the server predicts all
 * that can read the row. */
export function requestsOf(inputs, { model, tasks, chosen }) {
  const text = inputs.text;
  const row = inputs.divided ? { words: text.split(/\s+/).filter(Boolean) } : { text };
  if (inputs.pair) row.pair = inputs.pair;
  if (inputs.options.length) row.options = inputs.options;
  const ranked = inputs.candidates.length ? chosen.filter((name) => tasks[name].type === "ranking") : [];
  const lacking = {};
  for (const name of chosen) {
    const lack = ranked.includes(name) ? null : lackOf(tasks[name], inputs);
    if (lack) lacking[name] = lack;
  }
  const plain = chosen.filter((name) => !lacking[name] && !ranked.includes(name));
  const all = Object.keys(tasks).every((name) => chosen.includes(name));
  const requests = [];
  if (plain.length) requests.push({ kind: "row", body: body(model, [row], all && !ranked.length ? null : plain) });
  if (ranked.length) {
    const rows = inputs.candidates.map((pair) => ({ text, pair, query: "1" }));
    requests.push({ kind: "candidates", body: body(model, rows, ranked) });
  }
  return { requests, lacking };
}

function lackOf({ type, needs }, { pair, options }) {
  if (needs.includes("options") && options.length < 2) return "options, two or more";
  if (!needs.includes("pair") || pair) return null;
  return type === "ranking" ? "candidates, or a second text" : "a second text";
}

function body(model, inputs, tasks) {
  return { ...(model === null ? {} : { model }), inputs, ...(tasks === null ? {} : { tasks }) };
}

/** Commands for a shell; *keyed*: the server wants a key, which is read from the environment, never written down. */
export function asCurl(url, bodies, keyed) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = keyed ? ' \\\n  -H "authorization: Bearer $BRAID_API_KEY"' : "";
  const said = "-H 'content-type: application/json'";
  return bodies
    .map((one) => `curl -sS ${quoted(`${url}predict`)} ${said}${key} \\\n  -d ${quoted(JSON.stringify(one))}`)
    .join("\n");
}

/** A program that prints the results, one a line. */
export function asPython(url, bodies, keyed) {
  const model = bodies[0].model === undefined ? "" : `, model=${literal(bodies[0].model)}`;
  const key = keyed ? ', api_key=os.environ["BRAID_API_KEY"]' : "";
  const calls = bodies.map(({ inputs, tasks }) => {
    const rows = `[\n${inputs.map((row) => `        ${literal(row)},\n`).join("")}    ]`;
    return `    for result in client(${rows}${tasks === undefined ? "" : `, tasks=${literal(tasks)}`}):\n        print(result.to_json())\n`;
  });
  return `${keyed ? "import os\n\n" : ""}import braid

with braid.Client(${literal(url)}${model}${key}) as client:
${calls.join("")}`;
}

/** A value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Object.entries(value).map(([key, one]) => `${literal(key)}: ${literal(one)}`);
  return `{${items.join(", ")}}`;
}
