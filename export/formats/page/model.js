// The model of the bundle beside this file: its inputs checked, its answers as rows of numbers.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.logLevel = "error";

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, int16: Int16Array,
  int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array,
  uint32: Uint32Array, uint64: BigUint64Array, bool: Uint8Array,
};
const isBig = (dtype) => dtype === "int64" || dtype === "uint64";

// What a user can mend.
export class InputError extends Error {}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer;
}

export class Model {
  constructor(session, manifest, bytes, loadMs) {
    Object.assign(this, { session, manifest, bytes, loadMs });
    this.inputs = manifest.inputs;
    this.output = manifest.outputs[0];
  }

  static async load() {
    const started = performance.now();
    const manifest = await (await fetched("manifest.json")).json();
    const file = new Uint8Array(await (await fetched("model.onnx")).arrayBuffer());
    const session = await ort.InferenceSession.create(file, { logSeverityLevel: 3 });
    return new Model(session, manifest, file.length, performance.now() - started);
  }

  // Run on {name: {data, shape}}; return rows of the output and how long the call took.
  async run(tensors) {
    const feeds = {};
    for (const { name, dtype } of this.inputs)
      feeds[name] = new ort.Tensor(dtype, tensors[name].data, tensors[name].shape);
    const started = performance.now();
    const found = (await this.session.run(feeds))[this.output.name];
    const milliseconds = performance.now() - started;
    const width = found.dims.at(-1), data = Float32Array.from(found.data);
    return { data, width, rows: data.length / width, milliseconds };
  }

  // Turn what JSON says into tensors, or say what is wrong with it.
  read(value) {
    if (value === null || typeof value !== "object" || Array.isArray(value))
      throw new InputError(`expected {${this.inputs.map((s) => `"${s.name}": …`).join(", ")}}`);
    const sizes = {}, tensors = {};
    for (const spec of this.inputs) {
      if (!(spec.name in value)) throw new InputError(`"${spec.name}" is missing`);
      tensors[spec.name] = tensor(spec, value[spec.name], sizes);
    }
    for (const spec of this.inputs) checkIds(spec, tensors[spec.name].data, sizes);
    return tensors;
  }

  // A ring with chords and random features: something to look at, and to start from.
  example(nodes = 8) {
    const n = this.inputs.map((s) => s.name === "x" && s.shape[0]).find(Number.isInteger) ?? nodes;
    const edges = Array.from({ length: n }, (_, v) => [1, 3, n - 1].map((step) => [(v + step) % n, v])).flat();
    const size = (dim) => (Number.isInteger(dim) ? dim : dim.startsWith("num_nodes") ? n : edges.length);
    const random = lehmer(7), value = {};
    for (const { name, dtype, shape, below } of this.inputs) {
      const one = () => (dtype.startsWith("float") ? Math.round(100 * random()) / 100 : Math.floor(random() * (below ?? 1)));
      const many = ([dim, ...rest]) => Array.from({ length: size(dim) }, () => (rest.length ? many(rest) : one()));
      const sparse = () => Object.fromEntries(Array.from({ length: 5 }, () => [Math.floor(random() * shape[1]), one()]));
      if (name === "edge_index") value[name] = [edges.map(([u]) => u), edges.map(([, v]) => v)];
      else if (shape.length === 2 && shape[1] > WIDE) value[name] = Array.from({ length: size(shape[0]) }, sparse);
      else value[name] = many(shape);
    }
    return value;
  }
}

// more columns than anybody writes out
const WIDE = 40;

function lehmer(seed) {
  return () => (seed = (seed * 16807) % 2147483647) / 2147483647;
}

// Rows given as {column: value} are filled in with zeros.
function dense(spec, value) {
  const width = spec.shape[1];
  if (!Array.isArray(value) || spec.shape.length !== 2 || !Number.isInteger(width)) return value;
  return value.map((row, i) => {
    if (row === null || typeof row !== "object" || Array.isArray(row)) return row;
    const full = new Array(width).fill(0);
    for (const [column, entry] of Object.entries(row)) {
      if (!(Number.isInteger(Number(column)) && column >= 0 && column < width))
        throw new InputError(`${spec.name}[${i}] has column ${brief(column)}; columns must lie in [0, ${width})`);
      full[column] = entry;
    }
    return full;
  });
}

function tensor(spec, given, sizes) {
  const { name, dtype, shape } = spec, found = [], value = dense(spec, given);
  for (let level = value; Array.isArray(level); level = level[0]) found.push(level.length);
  const said = `${name} must have shape [${shape.join(", ")}]`;
  const got = found.length ? `[${found.join(", ")}]` : brief(value);
  if (found.length !== shape.length) throw new InputError(`${said}, got ${got}`);
  shape.forEach((dim, axis) => {
    const expected = Number.isInteger(dim) ? dim : sizes[dim] ?? (sizes[dim] = found[axis]);
    const known = sizes[dim] === undefined ? "" : ` with ${dim} = ${sizes[dim]}`;
    if (found[axis] !== expected) throw new InputError(`${said}${known}, got ${got}`);
  });
  const data = new ARRAYS[dtype](found.reduce((a, b) => a * b, 1));
  let at = 0;
  const fill = (level, axis, path) => {
    if (axis === found.length) {
      const fits = dtype.startsWith("float") ? Number.isFinite(level) : Number.isSafeInteger(level);
      const kind = dtype.startsWith("float") ? "a number" : "a whole number";
      if (!fits) throw new InputError(`${path} must be ${kind}, got ${brief(level)}`);
      data[at++] = isBig(dtype) ? BigInt(level) : level;
      return;
    }
    if (!Array.isArray(level) || level.length !== found[axis]) {
      const has = Array.isArray(level) ? level.length : brief(level);
      throw new InputError(`${path} must have ${found[axis]} entries like the first, got ${has}`);
    }
    level.forEach((entry, i) => fill(entry, axis + 1, `${path}[${i}]`));
  };
  fill(value, 0, name);
  return { data, shape: found };
}

const brief = (value) => JSON.stringify(value)?.slice(0, 40) ?? String(value);

function checkIds({ name, below, shape }, data, sizes) {
  const limit = name === "edge_index" ? sizes.num_nodes : below;
  if (limit === undefined || limit === null) return;
  const wrong = data.findIndex((id) => id < 0 || id >= limit);
  if (wrong < 0) return;
  const row = shape.length > 1 ? `${Math.floor(wrong / (data.length / 2))}, ${wrong % (data.length / 2)}` : wrong;
  const given = name === "edge_index" ? `with ${limit} nodes, ` : "";
  throw new InputError(`${name}[${row}] is ${data[wrong]}; ${given}ids must lie in [0, ${limit})`);
}

// The sample graph beside the page, or null: tensors by name, sparse ones filled in.
export async function loadSample() {
  const said = await (await fetched("sample.json")).json();
  if (said === null) return null;
  const bytes = await (await fetched("sample.bin")).arrayBuffer();
  const part = ({ dtype, offset, length }) => new ARRAYS[dtype](bytes, offset, length);
  const tensors = {};
  for (const [name, { dtype, shape, dense, sparse }] of Object.entries(said.tensors)) {
    const data = sparse ? filled(shape, part(sparse.rowptr), part(sparse.col), part(sparse.value))
      : isBig(dtype) ? BigInt64Array.from(part(dense), BigInt) : part(dense);
    tensors[name] = { data, shape };
  }
  return { name: said.name, tensors };
}

function filled([rows, width], rowptr, col, value) {
  const data = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let k = rowptr[row]; k < rowptr[row + 1]; k++) data[row * width + col[k]] = value[k];
  return data;
}
