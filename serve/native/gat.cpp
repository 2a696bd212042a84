// gat: attention over each node's in-neighbours, and the weighted sum of their features.
//
//   s_e = LeakyReLU(alpha_src[col[e]] + alpha_dst[i]),   out[i] = Σ_e softmax_e(s) · x[col[e]] + bias
//
// per head, the heads of a row lying side by side. With self_loops, a node attends to itself exactly once whatever loops the edges hold.
// Scores of one row are kept in a buffer of [degree, H]; nothing of size [E, H] is written.

#include "kernels.h"
#include "rows.h"
#include "simd.h"

namespace graphstill {
namespace {

struct Operands {
  const int64_t* rowptr;
  const int32_t* col;
  const float* x;
  const float* alpha_src;
  const float* alpha_dst;
  const float* bias;
  float* out;
  int64_t edges;
  int64_t heads;
  int64_t channels;
  float negative_slope;
  bool self_loops;

  int64_t width() const { return heads * channels; }
};

// Neighbours and scores of the row at hand.
struct Scratch {
  std::vector<int32_t> source;
  std::vector<float> score;   // [degree, H], and a vector more so that whole vectors can be read
  std::vector<float> factor;  // [H], and a vector more
};

constexpr size_t kPrefetchScores = 32;
constexpr size_t kPrefetchRows = 16;

GRAPHSTILL_INLINE void prefetch_row(const Operands& o, int32_t source) {
  const float* row = o.x + source * o.width();
  for (int64_t f = 0; f < o.width(); f += kLanes) __builtin_prefetch(row + f);
}

GRAPHSTILL_INLINE void collect_sources(const Operands& o, int64_t row, Scratch& scratch) {
  scratch.source.clear();
  for (int64_t edge = o.rowptr[row]; edge < o.rowptr[row + 1]; ++edge) {
    if (edge + (int64_t)kPrefetchScores < o.edges)
      __builtin_prefetch(o.alpha_src + o.col[edge + kPrefetchScores] * o.heads);
    if (!o.self_loops || o.col[edge] != row) scratch.source.push_back(o.col[edge]);
  }
  if (o.self_loops) scratch.source.push_back((int32_t)row);
}

// Scores, then exp(score - maximum); factor becomes 1 / Σ exp. Heads = 0: as many as there are.
template <int Heads>
GRAPHSTILL_INLINE void softmax(const Operands& o, int64_t row, Scratch& scratch) {
  const int64_t heads = Heads ? Heads : o.heads;
  const size_t degree = scratch.source.size();
  const int64_t size = (int64_t)degree * heads;
  scratch.score.resize(size + kLanes);
  scratch.factor.assign(heads + kLanes, -__builtin_inff());
  float* score = scratch.score.data();
  float* factor = scratch.factor.data();
  const float* target = o.alpha_dst + row * heads;
  for (size_t k = 0; k < degree; ++k) {
    if (k < kPrefetchRows) prefetch_row(o, scratch.source[k]);
    const float* source = o.alpha_src + scratch.source[k] * heads;
    for (int64_t h = 0; h < heads; ++h) {
      float value = source[h] + target[h];
      value = value < 0 ? value * o.negative_slope : value;
      score[k * heads + h] = value;
      factor[h] = value > factor[h] ? value : factor[h];
    }
  }
  for (size_t k = 0; k < degree; ++k)
    for (int64_t h = 0; h < heads; ++h) score[k * heads + h] -= factor[h];
  for (int64_t at = size; at < size + kLanes; ++at) score[at] = 0;
  for (int64_t at = 0; at < size; at += kLanes) store(score + at, exp_nonpositive(load(score + at)));
  for (int64_t h = 0; h < heads; ++h) factor[h] = 0;
  for (size_t k = 0; k < degree; ++k)
    for (int64_t h = 0; h < heads; ++h) factor[h] += score[k * heads + h];
  for (int64_t h = 0; h < heads; ++h) factor[h] = 1.0f / factor[h];
}

// Features [first, first + 16 · Vectors) of one row, whatever heads they belong to.
template <int Vectors>
GRAPHSTILL_INLINE void sum_tile(const Operands& o, const Scratch& scratch, const int32_t* heads,
                                int64_t first, float* out) {
  const size_t degree = scratch.source.size();
  Ints head_of[Vectors];
  for (int v = 0; v < Vectors; ++v) head_of[v] = load(heads + v * kLanes);
  const float* x = o.x + first;
  Floats total[Vectors] = {};
  for (size_t k = 0; k < degree; ++k) {
    if (k + kPrefetchRows < degree) {
      const float* later = x + scratch.source[k + kPrefetchRows] * o.width();
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(later + v * kLanes);
    }
    const Floats weights = load(scratch.score.data() + k * o.heads);
    const float* source = x + scratch.source[k] * o.width();
    for (int v = 0; v < Vectors; ++v)
      total[v] += pick(weights, head_of[v]) * load(source + v * kLanes);
  }
  const Floats factors = load(scratch.factor.data());
  for (int v = 0; v < Vectors; ++v) {
    Floats value = total[v] * pick(factors, head_of[v]);
    if (o.bias) value += load(o.bias + first + v * kLanes);
    store(out + first + v * kLanes, value);
  }
}

// Any width, one number after the other.
GRAPHSTILL_INLINE void sum_scalar(const Operands& o, const Scratch& scratch, float* out) {
  for (int64_t f = 0; f < o.width(); ++f) out[f] = o.bias ? o.bias[f] : 0;
  for (size_t k = 0; k < scratch.source.size(); ++k) {
    const float* source = o.x + scratch.source[k] * o.width();
    for (int64_t h = 0; h < o.heads; ++h) {
      const float weight = scratch.score[k * o.heads + h] * scratch.factor[h];
      for (int64_t f = h * o.channels; f < (h + 1) * o.channels; ++f) out[f] += weight * source[f];
    }
  }
}

// A vector for every 16 features; the last one starts earlier where the width is no multiple of 16,
// and computes what it shares with its predecessor a second time, to the same bits.
struct Tiles {
  std::vector<int64_t> first;  // the first feature of each vector
  std::vector<int32_t> heads;  // the head of each of its 16 features

  explicit Tiles(const Operands& o) {
    if (o.width() < kLanes || o.heads > kLanes) return;  // too narrow, or too many heads to pick from
    for (int64_t f = 0; f < o.width(); f += kLanes) {
      first.push_back(std::min(f, o.width() - kLanes));
      for (int lane = 0; lane < kLanes; ++lane)
        heads.push_back((int32_t)((first.back() + lane) / o.channels));
    }
  }
};

GRAPHSTILL_INLINE void weighted_sum(const Operands& o, const Scratch& scratch, const Tiles& tiles,
                                    float* out) {
  size_t tile = 0;
  const size_t whole = o.width() % kLanes ? tiles.first.size() - 1 : tiles.first.size();
  for (; tile + 8 <= whole; tile += 8)
    sum_tile<8>(o, scratch, tiles.heads.data() + tile * kLanes, tiles.first[tile], out);
  for (; tile + 2 <= whole; tile += 2)
    sum_tile<2>(o, scratch, tiles.heads.data() + tile * kLanes, tiles.first[tile], out);
  for (; tile < tiles.first.size(); ++tile)
    sum_tile<1>(o, scratch, tiles.heads.data() + tile * kLanes, tiles.first[tile], out);
}

template <int Heads>
GRAPHSTILL_INLINE void attend(const Operands& o, const Tiles& tiles, int64_t row, Scratch& scratch) {
  float* out = o.out + row * o.width();
  collect_sources(o, row, scratch);
  if (scratch.source.empty()) {
    for (int64_t f = 0; f < o.width(); ++f) out[f] = o.bias ? o.bias[f] : 0;
    return;
  }
  softmax<Heads>(o, row, scratch);
  if (tiles.first.empty()) sum_scalar(o, scratch, out);
  else weighted_sum(o, scratch, tiles, out);
}

GRAPHSTILL_CLONES
void gat_rows(const Operands& o, const Tiles& tiles, int64_t begin, int64_t end) {
  Scratch scratch;
  if (o.heads == 1) {
    for (int64_t row = begin; row < end; ++row) attend<1>(o, tiles, row, scratch);
  } else if (o.heads == 4) {
    for (int64_t row = begin; row < end; ++row) attend<4>(o, tiles, row, scratch);
  } else if (o.heads == 8) {
    for (int64_t row = begin; row < end; ++row) attend<8>(o, tiles, row, scratch);
  } else {
    for (int64_t row = begin; row < end; ++row) attend<0>(o, tiles, row, scratch);
  }
}

}  // namespace

Gat::Gat(const Attributes& attributes)
    : negative_slope_(attributes.real("negative_slope")),
      self_loops_(attributes.integer("add_self_loops") != 0) {}

void Gat::compute(const Context& context) const {
  const auto rowptr = context.input<int64_t>(0);
  const auto col = context.input<int32_t>(1);
  const auto x = context.input<float>(2);
  const auto alpha_src = context.input<float>(3);
  const auto alpha_dst = context.input<float>(4);
  const auto bias = context.input<float>(5);
  require(x.shape.size() == 2 && alpha_src.shape.size() == 2 && alpha_dst.shape.size() == 2,
          "x, alpha_src and alpha_dst must have two dimensions");
  const Rows rows(rowptr, col);
  const int64_t width = x.shape[1], heads = alpha_src.shape[1];
  require(heads > 0 && width % heads == 0, "x must be as wide as heads times channels");
  require(alpha_src.shape[0] == x.shape[0], "alpha_src needs a row for each row of x");
  require(alpha_dst.shape[0] == rows.count && alpha_dst.shape[1] == heads,
          "alpha_dst needs a row for each node, and as many heads as alpha_src");
  require(!bias || bias.size() == width, "bias needs one value per column of x");
  require(!self_loops_ || rows.count <= x.shape[0], "self loops need a row of x for each node");
  float* out = context.output<float>(0, {rows.count, width});
  const Operands operands{rows.rowptr,    rows.col,  x.data, alpha_src.data, alpha_dst.data,
                          bias.data,      out,       rows.edges, heads,      width / heads,
                          negative_slope_, self_loops_};
  const Tiles tiles(operands);
  rows.parallel_for(
      context, [&](int64_t begin, int64_t end) { gat_rows(operands, tiles, begin, end); });
}

}  // namespace graphstill
