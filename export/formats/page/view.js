// What the page shows of a graph that was run. Text goes in as text, never as markup.

const COLOURS = 8; // as many as style.css names
const MOST_NEIGHBOURS = 28, MOST_CLASSES = 10, MOST_ROWS = 200;
const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);
export const number = (value, digits = 0) =>
  value.toLocaleString("en", { maximumFractionDigits: digits });
const percent = (value) => `${number(100 * value, 1)} %`;
const colour = (k) => `colour-${k % COLOURS}`;

function time(ms) {
  if (ms >= 1000) return `${number(ms / 1000, 2)} s`;
  return `${number(ms, ms < 10 ? 2 : 0)} ms`;
}

function make(tag, attributes = {}, ...children) {
  const drawn = ["circle", "line", "text", "title", "g"].includes(tag);
  const made = drawn ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function showFacts(graph, loadMs) {
  const sorted = [...graph.times].sort((a, b) => a - b);
  const measured = sorted.length > 1 ? `One call, median of ${sorted.length}` : "First call, whole graph";
  const facts = [
    ["Nodes", number(graph.nodes)],
    ["Edges", number(graph.tensors.edge_index?.shape[1] ?? 0)],
    [measured, time(sorted[sorted.length >> 1])],
    ["Runtime and model loaded in", time(loadMs)],
  ];
  const right = shareRight(graph);
  if (right !== null) facts.push([graph.tensors.test ? "Right on the test nodes" : "Right", percent(right)]);
  const tile = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  at("facts").replaceChildren(...facts.map(tile));
}

function shareRight({ classes, predicted, tensors, ofNodes }) {
  if (!classes || !ofNodes) return null;
  const counted = tensors.test ? [...tensors.test.data].map(Number) : [...predicted.keys()];
  if (counted.length === 0) return null;
  return counted.filter((v) => predicted[v] === Number(classes[v])).length / counted.length;
}

export function showNode(graph, node) {
  const { width, probability, predicted, classes, className } = graph;
  const own = [...probability.subarray(node * width, (node + 1) * width)];
  const truth = classes ? Number(classes[node]) : undefined;
  const verdict = make("strong", {}, className(predicted[node]));
  at("verdict").replaceChildren(verdict, ` with ${percent(own[predicted[node]])}`);
  if (truth !== undefined) {
    const right = truth === predicted[node];
    const said = right ? "✓ true class" : `✗ true class: ${className(truth)}`;
    at("verdict").append(make("span", { class: `badge ${right ? "right" : "wrong"}` }, said));
  }
  const order = [...own.keys()].sort((a, b) => own[b] - own[a]).slice(0, MOST_CLASSES);
  at("classes").replaceChildren(...order.map((k) => classRow(className(k), own[k], k, k === truth)));
  at("node").value = node;
  drawNeighbours(graph, node);
}

function classRow(name, share, k, isTruth) {
  const fill = make("span", { class: `fill ${colour(k)}` });
  fill.style.width = percent(share).replace(" ", "");
  return make("li", isTruth ? { class: "truth" } : {},
    make("span", { class: "name" }, name),
    make("span", { class: "track" }, fill),
    make("span", { class: "value" }, percent(share)));
}

function drawNeighbours({ predicted, neighbours, classes, className }, node) {
  const all = [...neighbours[node]].sort((a, b) => predicted[a] - predicted[b] || a - b);
  const drawn = Math.min(all.length, MOST_NEIGHBOURS);
  const some = Array.from({ length: drawn }, (_, i) => all[Math.floor((i * all.length) / drawn)]);
  const places = new Map([[node, [0, 0]]]);
  some.forEach((v, i) => {
    const angle = (2 * Math.PI * i) / drawn - Math.PI / 2;
    places.set(v, [122 * Math.cos(angle), 122 * Math.sin(angle)]);
  });
  const line = (u, v, kind) => {
    const [x1, y1] = places.get(u), [x2, y2] = places.get(v);
    return make("line", { x1, y1, x2, y2, class: kind });
  };
  const dot = (v, r) => {
    const [cx, cy] = places.get(v);
    const truth = classes && Number(classes[v]);
    const wrong = classes && truth !== predicted[v];
    const said = `node ${v}: ${className(predicted[v])}${classes ? `, true ${className(truth)}` : ""}`;
    const made = make("g",
      { class: `dot ${colour(predicted[v])}${wrong ? " mistaken" : ""}`, "data-node": v,
        tabindex: 0, role: "button", "aria-label": said },
      make("title", {}, said), make("circle", { cx, cy, r }));
    if (drawn <= 14 || v === node) made.append(make("text", { x: cx, y: cy + 3.5 }, String(v)));
    return made;
  };
  const among = some.flatMap((v) =>
    neighbours[v].filter((u) => u !== node && places.has(u)).map((u) => line(u, v, "among")));
  at("picture").replaceChildren(...among, ...some.map((v) => line(v, node, "edge")),
    ...some.map((v) => dot(v, drawn > 14 ? 9 : 14)), dot(node, 20));
  at("caption").textContent = caption(node, all, drawn, predicted, classes);
}

function caption(node, all, drawn, predicted, classes) {
  if (all.length === 0) return `Node ${node} hears from no other node.`;
  const same = all.filter((v) => predicted[v] === predicted[node]).length;
  const more = all.length > drawn ? ` (${drawn} of them drawn)` : "";
  const plural = all.length > 1 ? "neighbours" : "neighbour";
  const rings = classes ? " A dashed ring marks a mistake." : "";
  return `Node ${node} hears from ${number(all.length)} ${plural}${more}; `
    + `${number(same)} with the same prediction.${rings}`;
}

export function showAnswers({ predicted, probability, width, rows, ofNodes, className }) {
  const cells = (kind, ...texts) => make("tr", {}, ...texts.map((text) => make(kind, {}, text)));
  const body = [...predicted.slice(0, MOST_ROWS)].map((k, row) =>
    cells("td", String(row), className(k), percent(probability[row * width + k])));
  const head = cells("th", ofNodes ? "node" : "graph", "class", "probability");
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  at("answers").replaceChildren(table);
  if (rows > body.length) at("answers").append(make("p", {}, `… and ${number(rows - body.length)} more`));
  at("answers").hidden = false;
}
