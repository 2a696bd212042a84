// spmm: sums or averages the features of each node's in-neighbours.
//
//   out[i] = dst_scale[i] · (R_i Σ_e weight[e] · u[col[e]]  +  self_weight[i] · u[i])  +  bias
//   u[j]   = src_scale[j] · x[j],        R_i = 1 for a sum, 1 / max(degree of i, 1) for a mean
//
// One row after the other, its sum held in registers: nothing of size [E, F] is ever written, every
// output is written once, and a row is summed in the same order at any number of threads.

#include "kernels.h"
#include "rows.h"
#include "simd.h"

namespace graphstill {
namespace {

struct Operands {
  const int64_t* rowptr;
  const int32_t* col;
  const float* x;
  const float* weight;
  const float* src_scale;
  const float* dst_scale;
  const float* self_weight;
  const float* bias;
  float* out;
  int64_t edges;
  int64_t features;
  bool mean;
};

// Asks for the row that is needed some edges later: narrow rows are consumed faster than they
// arrive, so they are asked for earlier.
template <int Vectors>
GRAPHSTILL_INLINE void prefetch(const Operands& o, const float* x, int64_t edge) {
  constexpr int kDistance = Vectors >= 8 ? 16 : 32;
  if (edge + kDistance >= o.edges) return;
  const float* row = x + o.col[edge + kDistance] * o.features;
  for (int v = 0; v < Vectors; ++v) __builtin_prefetch(row + v * kLanes);
}

template <bool Weighted, bool Scaled>
GRAPHSTILL_INLINE float coefficient(const Operands& o, int64_t edge, int32_t source) {
  float value = Weighted ? o.weight[edge] : 1.0f;
  return Scaled ? value * o.src_scale[source] : value;
}

struct Epilogue {
  float edges;  // factor of the sum over the edges
  float self;   // factor of the row's own features
};

GRAPHSTILL_INLINE Epilogue epilogue(const Operands& o, int64_t row, int64_t degree) {
  float scale = o.dst_scale ? o.dst_scale[row] : 1.0f;
  float self = o.self_weight ? scale * o.self_weight[row] : 0.0f;
  if (self != 0.0f && o.src_scale) self *= o.src_scale[row];
  return {o.mean && degree > 1 ? scale / (float)degree : scale, self};
}

// Features [first, first + 16 · Vectors) of one row.
template <int Vectors, bool Weighted, bool Scaled>
GRAPHSTILL_INLINE void row_tile(const Operands& o, int64_t row, int64_t first) {
  const int64_t begin = o.rowptr[row], end = o.rowptr[row + 1];
  const float* x = o.x + first;
  Floats total[Vectors] = {};
  for (int64_t edge = begin; edge < end; ++edge) {
    prefetch<Vectors>(o, x, edge);
    const int32_t source = o.col[edge];
    const float* neighbour = x + source * o.features;
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
    store(o.out + row * o.features + at, value);
  }
}

// The last features of a row, fewer than a vector.
template <bool Weighted, bool Scaled>
GRAPHSTILL_INLINE void row_tail(const Operands& o, int64_t row, int64_t first) {
  const int64_t begin = o.rowptr[row], end = o.rowptr[row + 1];
  const int width = (int)(o.features - first);
  float total[kLanes] = {};
  for (int64_t edge = begin; edge < end; ++edge) {
    const int32_t source = o.col[edge];
    const float* neighbour = o.x + source * o.features + first;
    const float factor = coefficient<Weighted, Scaled>(o, edge, source);
    for (int f = 0; f < width; ++f) total[f] += factor * neighbour[f];
  }
  const Epilogue factor = epilogue(o, row, end - begin);
  for (int f = 0; f < width; ++f) {
    float value = total[f] * factor.edges;
    if (factor.self != 0.0f) value += factor.self * o.x[row * o.features + first + f];
    o.out[row * o.features + first + f] = value + (o.bias ? o.bias[first + f] : 0.0f);
  }
}

template <bool Weighted, bool Scaled>
GRAPHSTILL_INLINE void row_all(const Operands& o, int64_t row) {
  int64_t first = 0;
  for (; first + 8 * kLanes <= o.features; first += 8 * kLanes)
    row_tile<8, Weighted, Scaled>(o, row, first);
  if (first + 4 * kLanes <= o.features) {
    row_tile<4, Weighted, Scaled>(o, row, first);
    first += 4 * kLanes;
  }
  if (first + 2 * kLanes <= o.features) {
    row_tile<2, Weighted, Scaled>(o, row, first);
    first += 2 * kLanes;
  }
  if (first + kLanes <= o.features) {
    row_tile<1, Weighted, Scaled>(o, row, first);
    first += kLanes;
  }
  if (first < o.features) row_tail<Weighted, Scaled>(o, row, first);
}

GRAPHSTILL_CLONES
void spmm_rows(const Operands& o, int64_t begin, int64_t end) {
  if (o.weight && o.src_scale) {
    for (int64_t row = begin; row < end; ++row) row_all<true, true>(o, row);
  } else if (o.weight) {
    for (int64_t row = begin; row < end; ++row) row_all<true, false>(o, row);
  } else if (o.src_scale) {
    for (int64_t row = begin; row < end; ++row) row_all<false, true>(o, row);
  } else {
    for (int64_t row = begin; row < end; ++row) row_all<false, false>(o, row);
  }
}

}  // namespace

Spmm::Spmm(const Attributes& attributes) {
  const std::string reduce = attributes.text("reduce");
  require(reduce == "sum" || reduce == "mean", "reduce must be sum or mean, got " + reduce);
  mean_ = reduce == "mean";
}

void Spmm::compute(const Context& context) const {
  const auto rowptr = context.input<int64_t>(0);
  const auto col = context.input<int32_t>(1);
  const auto x = context.input<float>(2);
  const auto weight = context.input<float>(3);
  const auto src_scale = context.input<float>(4);
  const auto dst_scale = context.input<float>(5);
  const auto self_weight = context.input<float>(6);
  const auto bias = context.input<float>(7);
  require(x.shape.size() == 2, "x must have two dimensions");
  const Rows rows(rowptr, col);
  const int64_t features = x.shape[1];
  require(!weight || weight.size() == rows.edges, "weight needs one value per edge");
  require(!src_scale || src_scale.size() == x.shape[0], "src_scale needs one value per row of x");
  require(!dst_scale || dst_scale.size() == rows.count, "dst_scale needs one value per node");
  require(!self_weight || (self_weight.size() == rows.count && rows.count <= x.shape[0]),
          "self_weight needs one value per node, and x a row for each");
  require(!bias || bias.size() == features, "bias needs one value per feature");
  float* out = context.output<float>(0, {rows.count, features});
  const Operands operands{rows.rowptr,    rows.col,         x.data,    weight.data,
                          src_scale.data, dst_scale.data,   self_weight.data,
                          bias.data,      out,              rows.edges, features, mean_};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { spmm_rows(operands, begin, end); });
}

}  // namespace graphstill
