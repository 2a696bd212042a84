// spmm: sums or averages the features of each node's in-neighbours.
//
//   out[i] = act(dst_scale[i] · (R_i Σ_e weight[e] · u[col[e]]  +  self_weight[i] · u[i])  +  bias  +  residual[i])
//   u[j]   = src_scale[j] · x[j],        R_i = 1 for a sum, 1 / max(degree of i, 1) for a mean
//
// One row after the other, its sum held in registers: nothing of size [E, F] is ever written, every
// output is written once, and a row is summed in the same order at any number of threads. Torch and
// ONNX Runtime run this same code. x may be of int8: rows that are a quarter as long to fetch, with
// their scales in src_scale (spmm_int8_rows).

#pragma once

#include "activation.h"
#include "channels.h"

namespace graphstill::spmm {

template <class Element>
struct OperandsOf {
  const int64_t* rowptr;
  const int32_t* col;
  const Element* x;
  const float* weight;  // [E], or [E, H] where heads > 1
  const float* src_scale;
  const float* dst_scale;
  const float* self_weight;
  const float* bias;
  float* out;
  int64_t features;
  bool mean;
  int64_t sources;  // rows of x
  int64_t edges;
  int64_t heads = 1;
  const float* residual = nullptr;
  Activation activation = kNone;
  int64_t first_row = 0;  // which out begins with
  bool straddles = true;  // whether a row of whole cache lines may begin inside one
};

using Operands = OperandsOf<float>;

namespace {

template <class Element>
GRAPHSTILL_INLINE float* out_row(const OperandsOf<Element>& o, int64_t row) {
  return o.out + (row - o.first_row) * o.features;
}

// Asks for the row that is needed some edges later: narrow rows are consumed faster than they
// arrive, so they are asked for earlier. Rows that begin inside a cache line (numpy aligns to 16
// bytes) end in one more; asking for it gains 6 to 10 % at 32 and 256 features, and nothing at 64.
template <int Vectors, class Element>
GRAPHSTILL_INLINE void prefetch(const OperandsOf<Element>& o, const Element* x, int64_t edge) {
  constexpr int kDistance = Vectors >= 8 ? 16 : Vectors >= 3 ? 24 : 32;
  if (edge + kDistance >= o.edges) return;
  const Element* row = x + o.col[edge + kDistance] * o.features;
  constexpr int kLine = 64 / sizeof(Element);
  for (int at = 0; at < Vectors * kLanes; at += kLine) __builtin_prefetch(row + at);
  if (Vectors != 4 && o.straddles) __builtin_prefetch(row + Vectors * kLanes - 1);
}

template <bool Weighted, bool Scaled, class Element>
GRAPHSTILL_INLINE float coefficient(const OperandsOf<Element>& o, int64_t edge, int32_t source) {
  float value = Weighted ? o.weight[edge] : 1.0f;
  return Scaled ? value * o.src_scale[source] : value;
}

struct Epilogue {
  float edges;  // factor of the sum over the edges
  float self;   // factor of the row's own features
};

template <class Element>
GRAPHSTILL_INLINE Epilogue epilogue(const OperandsOf<Element>& o, int64_t row, int64_t degree) {
  float scale = o.dst_scale ? o.dst_scale[row] : 1.0f;
  float self = o.self_weight ? scale * o.self_weight[row] : 0.0f;
  if (self != 0.0f && o.src_scale) self *= o.src_scale[row];
  return {o.mean && degree > 1 ? scale / (float)degree : scale, self};
}

// Features [first, first + 16 · Vectors) of one row.
template <int Vectors, bool Weighted, bool Scaled, class Element>
GRAPHSTILL_INLINE void row_tile(const OperandsOf<Element>& o, int64_t row, int64_t first) {
  const int64_t begin = o.rowptr[row], end = o.rowptr[row + 1];
  const Element* x = o.x + first;
  Floats total[Vectors] = {};
  for (int64_t edge = begin; edge < end; ++edge) {
    prefetch<Vectors>(o, x, edge);
    const int32_t source = o.col[edge];
    const Element* neighbour = x + source * o.features;
    if constexpr (Weighted || Scaled) {
      const float factor = coefficient<Weighted, Scaled>(o, edge, source);
      for (int v = 0; v < Vectors; ++v) total[v] += factor * load(neighbour + v * kLanes);
    } else {
      for (int v = 0; v < Vectors; ++v) total[v] += load(neighbour + v * kLanes);
    }
  }
  const Epilogue factor = epilogue(o, row, end - begin);
  for (int v = 0; v < Vectors; ++v) {
    const int64_t at = first + v * kLanes;
    Floats value = total[v] * factor.edges;
    if (factor.self != 0.0f) value += factor.self * load(o.x + row * o.features + at);
    if (o.bias) value += load(o.bias + at);
    store(out_row(o, row) + at, value);
  }
}

// Features [first, end of the row), Vectors · 16 of them and a last part, in one walk over the edges.
// The last part is loaded as a whole vector of Last, whose other lanes hold what comes next in x and
// are not stored.
template <class Last, int Vectors, bool Weighted, bool Scaled, class Element>
GRAPHSTILL_INLINE void row_end_as(const OperandsOf<Element>& o, int64_t row, int64_t first) {
  const int64_t begin = o.rowptr[row], end = o.rowptr[row + 1], at = first + Vectors * kLanes;
  const int width = (int)(o.features - at);
  const Element* x_end = o.x + o.sources * o.features;
  const Element* x = o.x + first;
  Floats total[Vectors + 1] = {};  // one more: none would be no array
  Last last = {};
  for (int64_t edge = begin; edge < end; ++edge) {
    prefetch<Vectors + 1>(o, x, edge);
    const int32_t source = o.col[edge];
    const Element* neighbour = x + source * o.features;
    const float factor = coefficient<Weighted, Scaled>(o, edge, source);
    for (int v = 0; v < Vectors; ++v) total[v] += factor * load(neighbour + v * kLanes);
    last += factor * load_some<Last>(neighbour + Vectors * kLanes, width, x_end);
  }
  const Epilogue factor = epilogue(o, row, end - begin);
  const Element* own = o.x + row * o.features + first;
  float* out = out_row(o, row) + first;
  for (int v = 0; v < Vectors; ++v) {
    Floats value = total[v] * factor.edges;
    if (factor.self != 0.0f) value += factor.self * load(own + v * kLanes);
    if (o.bias) value += load(o.bias + first + v * kLanes);
    store(out + v * kLanes, value);
  }
  last *= factor.edges;
  if (factor.self != 0.0f)
    last += factor.self * load_some<Last>(own + Vectors * kLanes, width, x_end);
  if (o.bias) last += load_some<Last>(o.bias + at, width, o.bias + o.features);
  store_some(out + Vectors * kLanes, last, width);
}

template <int Vectors, bool Weighted, bool Scaled>
GRAPHSTILL_INLINE void row_end(const Operands& o, int64_t row, int64_t first) {
  if (o.features - first <= Vectors * kLanes + 8)
    row_end_as<Floats8, Vectors, Weighted, Scaled>(o, row, first);
  else
    row_end_as<Floats, Vectors, Weighted, Scaled>(o, row, first);
}

template <int Vectors, bool Weighted, bool Scaled>
GRAPHSTILL_INLINE void row_end(const OperandsOf<int8_t>& o, int64_t row, int64_t first) {
  row_end_as<Floats, Vectors, Weighted, Scaled>(o, row, first);
}

template <bool Weighted, bool Scaled, class Element>
GRAPHSTILL_INLINE void row_all(const OperandsOf<Element>& o, int64_t row) {
  int64_t first = 0;
  for (; first + kMostSums * kLanes <= o.features; first += kMostSums * kLanes)
    row_tile<kMostSums, Weighted, Scaled>(o, row, first);
  if (first + 4 * kLanes <= o.features) {
    row_tile<4, Weighted, Scaled>(o, row, first);
    first += 4 * kLanes;
  }
  const int64_t left = o.features - first;
  if (left > 2 * kLanes && left < 3 * kLanes) return row_end<2, Weighted, Scaled>(o, row, first);
  if (left >= 2 * kLanes) {
    row_tile<2, Weighted, Scaled>(o, row, first);
    first += 2 * kLanes;
  }
  if (first == o.features) return;
  if (o.features - first > kLanes) row_end<1, Weighted, Scaled>(o, row, first);
  else if (o.features - first == kLanes) row_tile<1, Weighted, Scaled>(o, row, first);
  else row_end<0, Weighted, Scaled>(o, row, first);
}

// A weight for each head: the row's sum is held in the output, which its few edges leave in cache.
GRAPHSTILL_INLINE void row_heads(const Operands& o, int64_t row) {
  const int64_t begin = o.rowptr[row], end = o.rowptr[row + 1], channels = o.features / o.heads;
  float* out = out_row(o, row);
  for (int64_t f = 0; f < o.features; ++f) out[f] = 0;
  for (int64_t edge = begin; edge < end; ++edge) {
    prefetch<8>(o, o.x, edge);
    const int32_t source = o.col[edge];
    const float factor = o.src_scale ? o.src_scale[source] : 1.0f;
    for (int64_t h = 0; h < o.heads; ++h)
      add<0>(out + h * channels, factor * o.weight[edge * o.heads + h],
             o.x + source * o.features + h * channels, channels);
  }
  const Epilogue factor = epilogue(o, row, end - begin);
  scale(out, factor.edges, o.features);
  if (factor.self != 0.0f) add<0>(out, factor.self, o.x + row * o.features, o.features);
  if (o.bias) add<0>(out, 1.0f, o.bias, o.features);
}

GRAPHSTILL_INLINE void finish(const Operands& o, int64_t row) {
  float* out = out_row(o, row);
  if (o.residual) add<0>(out, 1.0f, o.residual + row * o.features, o.features);
  activate(out, o.features, o.activation);
}

// All rows of one kind. Features is the number of them where it is known when compiling, or 0.
template <int Features, bool Weighted, bool Scaled, class Element>
void rows_of(const OperandsOf<Element>& operands, int64_t begin, int64_t end) {
  OperandsOf<Element> o = operands;  // a copy that no store can reach stays in registers
  if (Features) o.features = Features;
  o.straddles = (uintptr_t)o.x % 64 || o.features * sizeof(Element) % 64;
  for (int64_t row = begin; row < end; ++row) row_all<Weighted, Scaled>(o, row);
}

template <bool Weighted, bool Scaled, class Element>
void rows_of_width(const OperandsOf<Element>& o, int64_t begin, int64_t end) {
  if (o.features == 32) rows_of<32, Weighted, Scaled>(o, begin, end);
  else if (o.features == 64) rows_of<64, Weighted, Scaled>(o, begin, end);
  else if (o.features == 128) rows_of<128, Weighted, Scaled>(o, begin, end);
  else rows_of<0, Weighted, Scaled>(o, begin, end);
}

inline void run_rows(const Operands& o, int64_t begin, int64_t end) {
  if (o.heads > 1) {
    for (int64_t row = begin; row < end; ++row) row_heads(o, row);
  } else if (o.weight && o.src_scale) {
    rows_of_width<true, true>(o, begin, end);
  } else if (o.weight) {
    rows_of_width<true, false>(o, begin, end);
  } else if (o.src_scale) {
    rows_of_width<false, true>(o, begin, end);
  } else {
    rows_of_width<false, false>(o, begin, end);
  }
  if (o.residual || o.activation != kNone)
    for (int64_t row = begin; row < end; ++row) finish(o, row);
}

// Rows of int8, each with a scale of its own in src_scale.
inline void run_rows(const OperandsOf<int8_t>& o, int64_t begin, int64_t end) {
  if (o.weight) rows_of_width<true, true>(o, begin, end);
  else rows_of_width<false, true>(o, begin, end);
}

}  // namespace
}  // namespace graphstill::spmm
