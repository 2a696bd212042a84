// Inputs as people write them, in JSON, made into the arrays that the model takes, or refused.

export const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, int16: Int16Array,
  int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array,
  uint32: Uint32Array, uint64: BigUint64Array, bool: Uint8Array,
};
export const isBig = (dtype) => dtype === "int64" || dtype === "uint64";
const isFloat = (dtype) => dtype.startsWith("float");

// more columns than anybody writes out
const WIDE = 40;
const LARGEST = 2 ** 31;

// What the visitor can mend.
export class InputError extends Error {}

const brief = (value) => JSON.stringify(value)?.slice(0, 40) ?? String(value);
const sizesOf = (list) => `[${list.join(", ")}]`;

// Return {name: {data, shape}} for the inputs that the manifest lists.
export function read(specs, value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    const wanted = specs.map(({ name }) => `"${name}": …`).join(", ");
    throw new InputError(`expected {${wanted}}, got ${brief(value)}`);
  }
  const sizes = {}, tensors = {};
  for (const spec of specs) {
    if (!(spec.name in value)) throw new InputError(`"${spec.name}" is missing`);
    tensors[spec.name] = tensor(spec, value[spec.name], sizes);
  }
  for (const spec of specs) checkIds(spec, tensors[spec.name].data, sizes);
  return tensors;
}

function tensor(spec, given, sizes) {
  const value = dense(spec, given), shape = [];
  for (let level = value; Array.isArray(level); level = level[0]) shape.push(level.length);
  checkShape(spec, shape, value, sizes);
  const data = new ARRAYS[spec.dtype](shape.reduce((a, b) => a * b, 1));
  let next = 0;
  const fill = (level, axis, path) => {
    if (axis === shape.length) {
      data[next++] = numberOf(spec.dtype, level, path);
      return;
    }
    if (!Array.isArray(level) || level.length !== shape[axis]) {
      const has = Array.isArray(level) ? level.length : brief(level);
      throw new InputError(`${path} must have ${shape[axis]} entries like the first, got ${has}`);
    }
    level.forEach((entry, i) => fill(entry, axis + 1, `${path}[${i}]`));
  };
  fill(value, 0, spec.name);
  return { data, shape };
}

// Fill rows given as {column: value} in with zeros.
function dense({ name, shape }, value) {
  const width = shape[1];
  if (!Array.isArray(value) || shape.length !== 2 || !Number.isInteger(width)) return value;
  return value.map((row, i) => {
    if (row === null || typeof row !== "object" || Array.isArray(row)) return row;
    const full = new Array(width).fill(0);
    for (const [column, entry] of Object.entries(row)) {
      const inside = Number.isInteger(Number(column)) && column >= 0 && column < width;
      if (!inside)
        throw new InputError(`${name}[${i}] has column ${brief(column)}; columns must lie in [0, ${width})`);
      full[column] = entry;
    }
    return full;
  });
}

function checkShape({ name, shape }, found, value, sizes) {
  const said = `${name} must have shape ${sizesOf(shape)}`;
  const got = found.length ? sizesOf(found) : brief(value);
  if (found.length !== shape.length) throw new InputError(`${said}, got ${got}`);
  shape.forEach((dim, axis) => {
    const expected = Number.isInteger(dim) ? dim : (sizes[dim] ??= found[axis]);
    const known = dim in sizes ? ` with ${dim} = ${sizes[dim]}` : "";
    if (found[axis] !== expected) throw new InputError(`${said}${known}, got ${got}`);
  });
}

function numberOf(dtype, value, path) {
  const fits = isFloat(dtype) ? Number.isFinite(value) : Number.isSafeInteger(value);
  const kind = isFloat(dtype) ? "a number" : "a whole number";
  if (!fits) throw new InputError(`${path} must be ${kind}, got ${brief(value)}`);
  return isBig(dtype) ? BigInt(value) : value;
}

function checkIds({ name, below, shape }, data, sizes) {
  const ofGraphs = name === "batch" ? LARGEST : null;
  const limit = name === "edge_index" ? sizes.num_nodes : (below ?? ofGraphs);
  if (limit === null || limit === undefined) return;
  const wrong = data.findIndex((id) => id < 0 || id >= limit);
  if (wrong < 0) return;
  const width = shape.length > 1 ? data.length / 2 : data.length;
  const place = shape.length > 1 ? `${Math.floor(wrong / width)}, ${wrong % width}` : wrong;
  const given = name === "edge_index" ? `with ${limit} nodes, ` : "";
  throw new InputError(`${name}[${place}] is ${data[wrong]}; ${given}ids must lie in [0, ${limit})`);
}

// Return inputs that fit: a ring with chords and random features, to look at and to start from.
export function example(specs, nodes = 8) {
  const fixed = specs.map(({ name, shape }) => name === "x" && shape[0]).find(Number.isInteger);
  const n = fixed ?? nodes, value = {}, random = lehmer(7);
  const edges = Array.from({ length: 3 * n }, (_, e) => {
    const target = Math.floor(e / 3), step = [1, 3, n - 1][e % 3];
    return [(target + step) % n, target];
  });
  const size = (dim) => {
    if (Number.isInteger(dim)) return dim;
    return dim.startsWith("num_nodes") ? n : edges.length;
  };
  const repeated = (length, one) => Array.from({ length }, one);
  for (const { name, dtype, shape, below } of specs) {
    const one = () => (isFloat(dtype) ? Math.round(100 * random()) / 100 : Math.floor(random() * (below ?? 1)));
    const entry = () => [Math.floor(random() * shape[1]), one()];
    const many = ([dim, ...rest]) => repeated(size(dim), () => (rest.length ? many(rest) : one()));
    if (name === "edge_index") value[name] = [0, 1].map((end) => edges.map((edge) => edge[end]));
    else if (shape.length === 2 && shape[1] > WIDE)
      value[name] = repeated(size(shape[0]), () => Object.fromEntries(repeated(5, entry)));
    else value[name] = many(shape);
  }
  return value;
}

// The same numbers for everybody: Lehmer's generator.
function lehmer(seed) {
  return () => (seed = (seed * 16807) % 2147483647) / 2147483647;
}
