// The model of the bundle beside this file, and the graph that was put beside it to be shown.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { ARRAYS, isBig } from "./inputs.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };

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
    // warnings, that an input has a default, are no news
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
}

// The sample graph, or null: tensors by name, sparse ones filled in.
export async function loadSample() {
  const said = await (await fetched("sample.json")).json();
  if (said === null) return null;
  const bytes = await (await fetched("sample.bin")).arrayBuffer();
  const part = ({ dtype, offset, length }) => new ARRAYS[dtype](bytes, offset, length);
  const tensors = {};
  for (const [name, { dtype, shape, dense, sparse }] of Object.entries(said.tensors)) {
    let data;
    if (sparse) data = filled(shape, ...[sparse.rowptr, sparse.col, sparse.value].map(part));
    else data = isBig(dtype) ? BigInt64Array.from(part(dense), BigInt) : part(dense);
    tensors[name] = { data, shape };
  }
  return { name: said.name, tensors };
}

function filled([rows, width], rowptr, col, value) {
  const data = new value.constructor(rows * width);
  for (let row = 0; row < rows; row++)
    for (let k = rowptr[row]; k < rowptr[row + 1]; k++) data[row * width + col[k]] = value[k];
  return data;
}
