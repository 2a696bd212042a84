// The page: a node and its neighbours on one side, a graph of the visitor's own on the other.

import { InputError, Model, loadSample } from "./model.js";

const COLOURS = 8; // as many as style.css names
const MOST_NEIGHBOURS = 28, MOST_CLASSES = 10, MOST_ROWS = 200;

const at = (id) => document.getElementById(id);
const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const percent = (value) => `${number(100 * value, 1)} %`;
const time = (ms) => (ms < 10 ? `${number(ms, 2)} ms` : ms < 1000 ? `${number(ms)} ms` : `${number(ms / 1000, 2)} s`);

function make(tag, attributes = {}, ...children) {
  const svg = ["circle", "line", "text", "title", "g"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

let model, first, shown;

// A graph that has been run: tensors, rows of probabilities, neighbours.
async function answered(name, tensors) {
  const answer = await model.run(tensors);
  const { data, width, rows } = answer;
  const probability = new Float32Array(data.length), predicted = new Uint32Array(rows);
  for (let row = 0; row < rows; row++) {
    const logits = data.subarray(row * width, (row + 1) * width), most = Math.max(...logits);
    const shifted = logits.map((v) => Math.exp(v - most)), sum = shifted.reduce((a, b) => a + b, 0);
    shifted.forEach((v, k) => (probability[row * width + k] = v / sum));
    predicted[row] = logits.indexOf(most);
  }
  const nodes = tensors.x?.shape[0] ?? rows;
  return { name, tensors, ...answer, probability, predicted, nodes, ofNodes: rows === nodes,
    classes: tensors.classes?.data, neighbours: neighboursOf(tensors.edge_index, nodes), times: [answer.milliseconds] };
}

function neighboursOf(edges, nodes) {
  const found = Array.from({ length: nodes }, () => new Set());
  const count = edges ? edges.shape[1] : 0;
  for (let e = 0; e < count; e++) {
    const source = Number(edges.data[e]), target = Number(edges.data[count + e]);
    if (source !== target) found[target].add(source);
  }
  return found.map((sources) => [...sources]);
}

const className = (k) => model.manifest.class_names?.[k] ?? `class ${k}`;
const colour = (k) => `colour-${k % COLOURS}`;

function showFacts() {
  const { times, nodes, tensors, classes, predicted } = shown;
  const sorted = [...times].sort((a, b) => a - b);
  const facts = [
    ["Nodes", number(nodes)],
    ["Edges", number(tensors.edge_index?.shape[1] ?? 0)],
    [times.length > 1 ? `One call, median of ${times.length}` : "First call, whole graph", time(sorted[sorted.length >> 1])],
    ["Runtime and model loaded in", time(model.loadMs)],
  ];
  if (classes && shown.ofNodes) {
    const test = tensors.test ? [...tensors.test.data].map(Number) : [...predicted.keys()];
    const right = test.filter((v) => predicted[v] === Number(classes[v])).length;
    facts.push([tensors.test ? "Right on the test nodes" : "Right", percent(right / test.length)]);
  }
  at("facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function showNode(node) {
  const { width, probability, predicted, classes } = shown;
  at("node").value = node;
  const own = [...probability.subarray(node * width, (node + 1) * width)];
  const order = [...own.keys()].sort((a, b) => own[b] - own[a]).slice(0, MOST_CLASSES);
  const truth = classes ? Number(classes[node]) : undefined;
  const verdict = at("verdict");
  verdict.replaceChildren(make("strong", {}, className(predicted[node])), ` with ${percent(own[predicted[node]])}`);
  if (truth !== undefined) {
    const right = truth === predicted[node];
    verdict.append(make("span", { class: right ? "badge right" : "badge wrong" }, right ? "✓ true class" : `✗ true class: ${className(truth)}`));
  }
  at("classes").replaceChildren(...order.map((k) => {
    const bar = make("span", { class: `bar-fill ${colour(k)}` });
    bar.style.width = `${100 * own[k]}%`;
    return make("li", k === truth ? { class: "truth" } : {}, make("span", { class: "name" }, className(k)),
      make("span", { class: "track" }, bar), make("span", { class: "value" }, percent(own[k])));
  }));
  showPicture(node);
}

function showPicture(node) {
  const { predicted, neighbours, classes } = shown;
  const all = [...neighbours[node]].sort((a, b) => predicted[a] - predicted[b] || a - b);
  const drawn = Math.min(all.length, MOST_NEIGHBOURS);
  const some = Array.from({ length: drawn }, (_, i) => all[Math.floor((i * all.length) / drawn)]);
  const places = new Map(some.map((v, i) => {
    const angle = (2 * Math.PI * i) / some.length - Math.PI / 2;
    return [v, [122 * Math.cos(angle), 122 * Math.sin(angle)]];
  })).set(node, [0, 0]);
  const line = (u, v, kind) => {
    const [[x1, y1], [x2, y2]] = [places.get(u), places.get(v)];
    return make("line", { x1, y1, x2, y2, class: kind });
  };
  const among = some.flatMap((v) => neighbours[v].filter((u) => u !== node && places.has(u)).map((u) => line(u, v, "among")));
  const dot = (v, r) => {
    const [cx, cy] = places.get(v);
    const wrong = classes && Number(classes[v]) !== predicted[v];
    const truth = classes ? `, true ${className(Number(classes[v]))}` : "";
    const made = make("g", { class: `dot ${colour(predicted[v])}${wrong ? " mistaken" : ""}`, tabindex: 0, role: "button", "data-node": v,
      "aria-label": `node ${v}: ${className(predicted[v])}${truth}` },
      make("title", {}, `node ${v}: ${className(predicted[v])}${truth}`), make("circle", { cx, cy, r }));
    if (some.length <= 14 || v === node) made.append(make("text", { x: cx, y: cy + 3.5 }, String(v)));
    return made;
  };
  at("picture").replaceChildren(...among, ...some.map((v) => line(v, node, "edge")), ...some.map((v) => dot(v, some.length > 14 ? 9 : 14)), dot(node, 20));
  const more = all.length > some.length ? ` (${some.length} of them drawn)` : "";
  const same = all.filter((v) => predicted[v] === predicted[node]).length;
  at("caption").textContent = all.length
    ? `Node ${node} hears from ${number(all.length)} neighbour${all.length > 1 ? "s" : ""}${more}; ${number(same)} of them with the same prediction.${classes ? " A dashed ring marks a mistake." : ""}`
    : `Node ${node} hears from no other node.`;
}

function show(graph) {
  shown = graph;
  showFacts();
  at("node-card").hidden = !graph.ofNodes;
  at("node-title").textContent = graph.name;
  at("node").max = graph.nodes - 1;
  at("wrong").hidden = !graph.classes;
  at("back").hidden = graph === first;
  if (graph.ofNodes) showNode(0);
}

function showAnswers(graph) {
  const rows = [...graph.predicted.slice(0, MOST_ROWS)].map((k, row) => make("tr", {}, make("td", {}, String(row)), make("td", {}, className(k)),
    make("td", {}, percent(graph.probability[row * graph.width + k]))));
  const head = [graph.ofNodes ? "node" : "graph", "class", "probability"].map((name) => make("th", {}, name));
  at("answers").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
  if (graph.rows > rows.length) at("answers").append(make("p", {}, `… and ${number(graph.rows - rows.length)} more`));
  at("answers").hidden = false;
}

function complain(error) {
  at("own-problem").textContent = error instanceof SyntaxError ? `This is no JSON: ${error.message}` : error.message;
  at("own-problem").hidden = false;
  at("answers").hidden = true;
  if (!(error instanceof InputError || error instanceof SyntaxError)) console.error(error);
}

async function runOwn() {
  at("own-problem").hidden = true;
  try {
    const graph = await answered("Your graph", model.read(JSON.parse(at("own").value)));
    showAnswers(graph);
    show(graph);
  } catch (error) {
    complain(error);
  }
}

function listen() {
  const goto = (node) => Number.isInteger(node) && node >= 0 && node < shown.nodes && showNode(node);
  at("picker").addEventListener("submit", (event) => event.preventDefault());
  at("node").addEventListener("input", () => goto(at("node").valueAsNumber));
  at("random").addEventListener("click", () => goto(Math.floor(Math.random() * shown.nodes)));
  at("wrong").addEventListener("click", () => {
    const wrong = [...shown.predicted.keys()].filter((v) => Number(shown.classes[v]) !== shown.predicted[v]);
    if (wrong.length) goto(wrong[Math.floor(Math.random() * wrong.length)]);
  });
  at("again").addEventListener("click", async () => {
    shown.times = [];
    for (let i = 0; i < 5; i++) shown.times.push((await model.run(shown.tensors)).milliseconds);
    showFacts();
  });
  const picked = (event) => {
    const dot = event.target.closest("[data-node]");
    if (dot && (event.type === "click" || event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      goto(Number(dot.dataset.node));
    }
  };
  at("picture").addEventListener("click", picked);
  at("picture").addEventListener("keydown", picked);
  at("example").addEventListener("click", () => (at("own").value = written(model.example())));
  at("file").addEventListener("change", async () => {
    const [file] = at("file").files;
    if (file) at("own").value = await file.text();
  });
  at("run").addEventListener("click", runOwn);
  at("back").addEventListener("click", () => show(first));
}

// JSON with a row of a matrix on a line
const written = (value) => `{${Object.entries(value).map(([name, entry]) =>
  `"${name}": [${entry.map((row) => JSON.stringify(row)).join(typeof entry[0] === "object" ? ",\n  " : ",")}]`).join(",\n ")}}`;

function introduce() {
  const { architecture, parameters, producer, inputs, feature_transform: transform } = model.manifest;
  const kind = architecture?.name ?? "A graph network";
  document.title = at("title").textContent = `${kind}, in your browser`;
  at("about").textContent = `${number(parameters)} parameters, ${number(model.bytes / 1000)} kB of ONNX.`;
  at("made").textContent = `Made by ${producer}.`;
  const shapes = inputs.map((s) => `${s.name} [${s.shape.join(", ")}]`).join(", ");
  at("wanted").textContent = `JSON with ${shapes}; a row of features may be {"column": value, …}, the rest zeros${transform ? `; features as ${transform} leaves them` : ""}.`;
}

try {
  let sample;
  [model, sample] = await Promise.all([Model.load(), loadSample()]);
  introduce();
  at("status").textContent = "Running …";
  await new Promise((done) => setTimeout(done)); // let it be seen
  first = sample ? await answered(sample.name, sample.tensors) : await answered("A small made-up graph", model.read(model.example()));
  listen();
  show(first);
  at("status").hidden = true;
  at("main").hidden = false;
  document.body.dataset.ready = "true";
} catch (error) {
  at("status").hidden = true;
  at("problem").hidden = false;
  at("problem").textContent = `The model could not be loaded: ${error.message}`;
  console.error(error);
}

// for whoever looks from the console, and for tests
export { model };
export const current = () => shown;
