// The page: a node and its neighbours, and a graph of the visitor's own.

import { InputError, example, read } from "./inputs.js";
import { Model, loadSample } from "./model.js";
import { at, number, showAnswers, showFacts, showNode } from "./view.js";

let model, first, shown;

// Run a graph, and return it with probabilities, predictions and neighbours.
async function answered(name, tensors) {
  const answer = await model.run(tensors);
  const { data, width, rows, milliseconds } = answer;
  const probability = new Float32Array(data.length), predicted = new Uint32Array(rows);
  for (let row = 0; row < rows; row++) {
    const logits = data.subarray(row * width, (row + 1) * width), largest = Math.max(...logits);
    const powers = logits.map((value) => Math.exp(value - largest));
    const sum = powers.reduce((a, b) => a + b, 0);
    probability.set(powers.map((value) => value / sum), row * width);
    predicted[row] = logits.indexOf(largest);
  }
  const nodes = tensors.x?.shape[0] ?? rows;
  return {
    ...answer, name, tensors, probability, predicted, nodes,
    times: [milliseconds],
    ofNodes: rows === nodes,
    classes: tensors.classes?.data,
    neighbours: neighboursOf(tensors.edge_index, nodes),
    className: (k) => model.manifest.class_names?.[k] ?? `class ${k}`,
  };
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

function show(graph) {
  shown = graph;
  showFacts(graph, model.loadMs);
  at("node-card").hidden = !graph.ofNodes;
  at("node-title").textContent = graph.name;
  at("node").max = graph.nodes - 1;
  at("wrong").hidden = !graph.classes;
  at("back").hidden = graph === first;
  if (graph.ofNodes) showNode(graph, 0);
}

function go(node) {
  if (Number.isInteger(node) && node >= 0 && node < shown.nodes) showNode(shown, node);
}

function goToMistake() {
  const { predicted, classes } = shown;
  const wrong = [...predicted.keys()].filter((v) => Number(classes[v]) !== predicted[v]);
  if (wrong.length) go(wrong[Math.floor(Math.random() * wrong.length)]);
}

// Let "running" be seen before the model keeps the page from drawing.
async function busily(work) {
  document.body.classList.add("busy");
  await new Promise((done) => setTimeout(done, 30));
  try {
    await work();
  } finally {
    document.body.classList.remove("busy");
  }
}

async function runAgain() {
  const times = [];
  for (let i = 0; i < 5; i++) times.push((await model.run(shown.tensors)).milliseconds);
  shown.times = times;
  showFacts(shown, model.loadMs);
}

async function runOwn() {
  at("own-problem").hidden = true;
  try {
    const graph = await answered("Your graph", read(model.inputs, JSON.parse(at("own").value)));
    showAnswers(graph);
    show(graph);
  } catch (error) {
    const mendable = error instanceof InputError || error instanceof SyntaxError;
    const said = error instanceof SyntaxError ? `This is no JSON: ${error.message}` : error.message;
    at("own-problem").textContent = said;
    at("own-problem").hidden = false;
    at("answers").hidden = true;
    if (!mendable) console.error(error);
  }
}

// JSON with a row of a matrix on a line.
function written(value) {
  const entries = Object.entries(value).map(([name, rows]) => {
    const between = typeof rows[0] === "object" ? ",\n  " : ",";
    return `"${name}": [${rows.map((row) => JSON.stringify(row)).join(between)}]`;
  });
  return `{${entries.join(",\n ")}}`;
}

function listen() {
  const clicked = (id, work) => at(id).addEventListener("click", work);
  at("picker").addEventListener("submit", (event) => event.preventDefault());
  at("node").addEventListener("input", () => go(at("node").valueAsNumber));
  clicked("random", () => go(Math.floor(Math.random() * shown.nodes)));
  clicked("wrong", goToMistake);
  clicked("again", () => busily(runAgain));
  clicked("run", () => busily(runOwn));
  clicked("back", () => show(first));
  clicked("example", () => (at("own").value = written(example(model.inputs))));
  at("file").addEventListener("change", async () => {
    const [file] = at("file").files;
    if (file) at("own").value = await file.text();
  });
  const picked = (event) => {
    const dot = event.target.closest("[data-node]");
    if (!dot || (event.type === "keydown" && !["Enter", " "].includes(event.key))) return;
    event.preventDefault();
    go(Number(dot.dataset.node));
  };
  at("picture").addEventListener("click", picked);
  at("picture").addEventListener("keydown", picked);
}

function introduce() {
  const { architecture, parameters, producer, inputs, feature_transform: transform } = model.manifest;
  const title = `${architecture?.name ?? "A graph network"}, in your browser`;
  document.title = at("title").textContent = title;
  at("about").textContent = `${number(parameters)} parameters, ${number(model.bytes / 1000)} kB of ONNX.`;
  at("made").textContent = `Made by ${producer}.`;
  const shapes = inputs.map((spec) => `${spec.name} [${spec.shape.join(", ")}]`).join(", ");
  const sparse = 'a row of features may be {"column": value, …}, the rest zeros';
  const prepared = transform ? `; features as ${transform} leaves them` : "";
  at("wanted").textContent = `JSON with ${shapes}; ${sparse}${prepared}.`;
}

async function start() {
  let sample;
  [model, sample] = await Promise.all([Model.load(), loadSample()]);
  introduce();
  at("status").textContent = "Running …";
  await busily(async () => {
    first = sample
      ? await answered(sample.name, sample.tensors)
      : await answered("A small made-up graph", read(model.inputs, example(model.inputs)));
  });
  listen();
  show(first);
  at("status").hidden = true;
  at("main").hidden = false;
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  at("status").hidden = true;
  at("problem").hidden = false;
  at("problem").textContent = `The model could not be loaded: ${error.message}`;
  console.error(error);
});

// for whoever looks from the console, and for tests
export const current = () => shown;
