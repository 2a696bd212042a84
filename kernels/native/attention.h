// Attention over each node's in-neighbours, whatever it scores them by (scores.h).
//
//   out[i] = Σ_e p_e · value[col[e]] + bias,    p_e = exp(s_e) / Σ exp(s) over the in-edges of i
//
// of each head, side by side, or their mean where mean_heads asks for it. Where all heads share their
// values, each sums the same rows [M, C] by its own weights.
//
// A row's neighbours come in chunks that fit a core's cache, and the softmax is rescaled when a
// chunk brings a larger score (Milakov and Gimelshein, 2018): nothing grows with the degree of a
// row. lse[i] = log Σ exp(s) is kept where it is asked for. With self_loops a node attends to itself exactly once,
// whatever loops the edges hold.
//
// Backward, with g the gradient of out, the gradient of a score is s'_e = p_e (g[i] · value[j] -
// mean[i]), where mean[i] = g[i] · (out[i] - bias). It is needed once per row (what belongs to
// destinations) and once per column (what belongs to sources), and computed both times: reading it
// back would cost as much, and memory.

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "channels.h"
#include "folded.h"

namespace graphstill::attention {

struct Operands {
  const int64_t* rowptr;  // of the graph, or of the transposed one where sources are walked
  const int32_t* col;
  int64_t edges;
  const float* value;  // [M, H · C]
  int64_t heads;
  int64_t channels;
  bool self_loops;
  // forward alone
  bool mean_heads = false;
  bool shared = false;    // whether value is [M, C]
  int64_t first_row = 0;  // the row that the answers begin with

  int64_t width() const { return heads * channels; }
  int64_t out_width() const { return mean_heads ? channels : width(); }
};

struct Gradients {
  const float* grad;  // [N, H · C]
  const float* lse;   // [N, H]
  const float* mean;  // [N, H]
  float* dvalue;      // [M, H · C]
};

constexpr int kChunk = 32;
constexpr int64_t kAhead = 16;

// The neighbours at hand and what is computed about them.
struct Chunk {
  int32_t ids[kChunk];
  int count = 0;
  std::vector<float> score;   // [kChunk, H], and a vector more
  std::vector<float> dscore;  // [H]
  std::vector<float> top;     // [H], and a vector more: the largest score so far
  std::vector<float> total;   // [H], and a vector more: Σ exp(score - top) so far
  std::vector<float> before;  // [H]: the largest score before this chunk
  bool started = false;       // whether anything was summed
  explicit Chunk(int64_t heads)
      : score(kChunk * heads + kLanes), dscore(heads), top(heads + kLanes), total(heads + kLanes), before(heads) {}

  GRAPHSTILL_INLINE void exponentiate(int64_t heads) {
    for (int64_t at = 0; at < count * heads; at += kLanes)
      store(score.data() + at, exp_nonpositive(load(score.data() + at)));
  }
};

// Calls body() for the neighbours of a row, a chunk at a time, asking for later ones early.
template <class Prefetch, class Body>
GRAPHSTILL_INLINE void for_chunks(const Operands& o, int64_t row, Chunk& chunk,
                                  const Prefetch& prefetch, const Body& body) {
  int64_t edge = o.rowptr[row];
  const int64_t end = o.rowptr[row + 1];
  bool self = o.self_loops;  // still to come
  do {
    chunk.count = 0;
    for (; edge < end && chunk.count < kChunk; ++edge) {
      if (edge + kAhead < o.edges) prefetch(o.col[edge + kAhead]);
      if (!o.self_loops || o.col[edge] != row) chunk.ids[chunk.count++] = o.col[edge];
    }
    if (self && edge == end && chunk.count < kChunk) {
      chunk.ids[chunk.count++] = (int32_t)row;
      self = false;
    }
    if (chunk.count) body();
  } while (edge < end || self);
}

// The largest score of a chunk for each head, or what it was; then scores less that.
GRAPHSTILL_INLINE void subtract_top(const Operands& o, Chunk& chunk) {
  float* score = chunk.score.data();
  float* tops = chunk.top.data();
  for_vectors<0>(o.heads, [&](int64_t h, auto lanes) GRAPHSTILL_LAMBDA {
    using Vector = decltype(lanes);
    Vector top = load_as<Vector>(tops + h);
    for (int k = 0; k < chunk.count; ++k) {
      const Vector value = load_as<Vector>(score + k * o.heads + h);
      top = select(value > top, value, top);
    }
    for (int k = 0; k < chunk.count; ++k)
      store(score + k * o.heads + h, load_as<Vector>(score + k * o.heads + h) - top);
    store(tops + h, top);
  });
}

GRAPHSTILL_INLINE void add_to_total(const Operands& o, Chunk& chunk) {
  for_vectors<0>(o.heads, [&](int64_t h, auto lanes) GRAPHSTILL_LAMBDA {
    using Vector = decltype(lanes);
    Vector total = load_as<Vector>(chunk.total.data() + h);
    for (int k = 0; k < chunk.count; ++k)
      total += load_as<Vector>(chunk.score.data() + k * o.heads + h);
    store(chunk.total.data() + h, total);
  });
}

// The same where a vector holds the heads of several edges side by side.
GRAPHSTILL_INLINE void subtract_top_folded(int64_t heads, Chunk& chunk) {
  float* score = chunk.score.data();
  const int64_t size = chunk.count * heads;
  for (int64_t at = size; at % kLanes; ++at) score[at] = -__builtin_inff();
  Floats top = load(chunk.top.data());
  for (int64_t at = 0; at < size; at += kLanes) top = larger(load(score + at), top);
  top = folded::largest(top, heads);
  for (int64_t at = 0; at < size; at += kLanes) store(score + at, load(score + at) - top);
  store(chunk.top.data(), top);
}

GRAPHSTILL_INLINE void add_to_total_folded(int64_t heads, Chunk& chunk) {
  Floats total{};
  for (int64_t at = 0; at < chunk.count * heads; at += kLanes) total += load(chunk.score.data() + at);
  store(chunk.total.data(), load(chunk.total.data()) + folded::total(total, heads));
}

// Turns the scores of a chunk into exp(score - top), top being the largest so far, adds them to
// their total, and brings what was summed before, out and total, to that same base.
GRAPHSTILL_INLINE void soften(const Operands& o, Chunk& chunk, float* out) {
  const bool fold = folded::suits(o.heads);
  for (int64_t h = 0; h < o.heads; ++h) chunk.before[h] = chunk.top[h];
  fold ? subtract_top_folded(o.heads, chunk) : subtract_top(o, chunk);
  for (int64_t h = 0; h < o.heads && chunk.started; ++h)
    if (chunk.before[h] < chunk.top[h]) {
      const float shrink = std::exp(chunk.before[h] - chunk.top[h]);
      chunk.total[h] *= shrink;
      scale(out + h * o.channels, shrink, o.channels);
    }
  chunk.started = true;
  chunk.exponentiate(o.heads);
  fold ? add_to_total_folded(o.heads, chunk) : add_to_total(o, chunk);
}

// Writes the mean of a row's heads and returns it.
template <int Fixed>
GRAPHSTILL_INLINE float* mean_of_heads(const Operands& o, const float* every, float* mean) {
  const int64_t channels = Fixed ? Fixed : o.channels;
  for (int64_t c = 0; c < channels; ++c) mean[c] = 0;
  for (int64_t h = 0; h < o.heads; ++h)
    add<Fixed>(mean, 1.0f / (float)o.heads, every + h * channels, channels);
  return mean;
}

template <int Fixed, class Score>
GRAPHSTILL_INLINE void forward(const Operands& operands, const Score& by, const float* bias, float* outs,
                               float* lse, int64_t begin, int64_t end) {
  const Operands o = operands;  // a copy that no store can reach stays in registers
  const int64_t channels = Fixed ? Fixed : o.channels, width = o.heads * channels;
  const int64_t apart = o.shared ? 0 : channels, value_width = o.shared ? channels : width;
  Chunk chunk(o.heads);
  float* score = chunk.score.data();
  std::vector<float> every(o.mean_heads ? width : 0);  // a row's heads, before their mean is taken
  const auto prefetch = [&](int64_t j) GRAPHSTILL_LAMBDA {
    prefetch_row(o.value + j * value_width, value_width);
    by.prefetch_source(j);
  };
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = i - o.first_row;
    float* out = o.mean_heads ? every.data() : outs + at * width;
    for (int64_t f = 0; f < width; ++f) out[f] = 0;
    std::fill(chunk.top.begin(), chunk.top.end(), -__builtin_inff());
    std::fill(chunk.total.begin(), chunk.total.end(), 0.0f);
    chunk.started = false;
    for_chunks(o, i, chunk, prefetch, [&]() GRAPHSTILL_LAMBDA {
      for (int k = 0; k < chunk.count; ++k) by.score(i, chunk.ids[k], score + k * o.heads);
      soften(o, chunk, out);
      for (int64_t h = 0; h < o.heads; ++h)
        add_rows<Fixed>(out + h * channels, score + h, o.heads, o.value + h * apart, value_width,
                        chunk.ids, chunk.count, channels);
    });
    for (int64_t h = 0; h < o.heads; ++h) {
      const float total = chunk.total[h];
      if (total != 0) scale(out + h * channels, 1.0f / total, channels);
      if (lse) lse[i * o.heads + h] = total != 0 ? chunk.top[h] + std::log(total) : -__builtin_inff();
    }
    float* row = o.mean_heads ? mean_of_heads<Fixed>(o, out, outs + at * channels) : out;
    if (bias) add<0>(row, 1.0f, bias, o.out_width());
  }
}

// p_e of a chunk's edges; where() says which are destination and source of one.
template <class Score, class Where>
GRAPHSTILL_INLINE void probabilities(const Operands& o, const Score& by, const Gradients& g,
                                     Chunk& chunk, const Where& where) {
  for (int k = 0; k < chunk.count; ++k) {
    float* score = chunk.score.data() + k * o.heads;
    const auto [i, j] = where(chunk.ids[k]);
    by.score(i, j, score);
    for_vectors<0>(o.heads, [&](int64_t h, auto lanes) GRAPHSTILL_LAMBDA {
      using Vector = decltype(lanes);
      store(score + h, load_as<Vector>(score + h) - load_as<Vector>(g.lse + i * o.heads + h));
    });
  }
  chunk.exponentiate(o.heads);
}

template <int Fixed>
GRAPHSTILL_INLINE void score_gradient(const Operands& o, const Gradients& g, Chunk& chunk,
                                      const float* p, int64_t i, int64_t j) {
  const int64_t channels = Fixed ? Fixed : o.channels, width = o.heads * channels;
  for (int64_t h = 0; h < o.heads; ++h) {
    const float product = dot<Fixed>(g.grad + i * width + h * channels,
                                     o.value + j * width + h * channels, channels);
    chunk.dscore[h] = p[h] * (product - g.mean[i * o.heads + h]);
  }
}

struct Edge {
  int64_t i, j;
};

// What belongs to destinations, and the gradient of att [H · C] over these rows.
template <int Fixed, class Score>
GRAPHSTILL_INLINE void targets(const Operands& operands, const Score& by, const Gradients& g, float* datt,
                               int64_t begin, int64_t end) {
  const Operands o = operands;
  const int64_t width = o.heads * (Fixed ? Fixed : o.channels);
  Chunk chunk(o.heads);
  const auto prefetch = [&](int64_t j) GRAPHSTILL_LAMBDA {
    prefetch_row(o.value + j * width, width);
    by.prefetch_source(j);
  };
  for (int64_t i = begin; i < end; ++i) {
    by.clear_target(i);
    for_chunks(o, i, chunk, prefetch, [&]() GRAPHSTILL_LAMBDA {
      probabilities(o, by, g, chunk, [i](int64_t j) GRAPHSTILL_LAMBDA { return Edge{i, j}; });
      for (int k = 0; k < chunk.count; ++k) {
        const float* p = chunk.score.data() + k * o.heads;
        score_gradient<Fixed>(o, g, chunk, p, i, chunk.ids[k]);
        by.to_target(i, chunk.ids[k], chunk.dscore.data(), datt);
      }
    });
  }
}

// What belongs to sources; o walks the transposed graph.
template <int Fixed, class Score>
GRAPHSTILL_INLINE void sources(const Operands& operands, const Score& by, const Gradients& g,
                               int64_t begin, int64_t end) {
  const Operands o = operands;
  const int64_t channels = Fixed ? Fixed : o.channels, width = o.heads * channels;
  Chunk chunk(o.heads);
  const auto prefetch = [&](int64_t i) GRAPHSTILL_LAMBDA {
    prefetch_row(g.grad + i * width, width);
    __builtin_prefetch(g.lse + i * o.heads);
    __builtin_prefetch(g.mean + i * o.heads);
    by.prefetch_target(i);
  };
  for (int64_t j = begin; j < end; ++j) {
    float* dvalue = g.dvalue + j * width;
    for (int64_t f = 0; f < width; ++f) dvalue[f] = 0;
    by.clear_source(j);
    for_chunks(o, j, chunk, prefetch, [&]() GRAPHSTILL_LAMBDA {
      probabilities(o, by, g, chunk, [j](int64_t i) GRAPHSTILL_LAMBDA { return Edge{i, j}; });
      for (int k = 0; k < chunk.count; ++k) {
        const int64_t i = chunk.ids[k];
        const float* p = chunk.score.data() + k * o.heads;
        score_gradient<Fixed>(o, g, chunk, p, i, j);
        for (int64_t h = 0; h < o.heads; ++h)
          add<Fixed>(dvalue + h * channels, p[h], g.grad + i * width + h * channels, channels);
        by.to_source(i, j, chunk.dscore.data());
      }
    });
  }
}

}  // namespace graphstill::attention
