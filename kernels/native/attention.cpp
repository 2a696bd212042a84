// Entries of gat, gatv2 and dot_attention.

#include "attention.h"
#include "entry.h"
#include "memory.h"
#include "scores.h"
#include "threads.h"

namespace graphstill::attention {
namespace {

enum Kind : int64_t { kAdditive = 0, kDynamic = 1, kScaled = 2 };

// What a kind scores by: a is alpha_src, x_l or query; b is alpha_dst, x_r or key; their gradients.
struct Inputs {
  Kind kind;
  const float* a;
  const float* b;
  const float* att;
  float slope;
  float* da;
  float* db;
};

// Calls body with the score of a kind, compiled for usual numbers of channels.
template <class Body>
void with_score(const Operands& o, const Inputs& in, const Body& body) {
  with_channels(o.channels, [&](auto fixed) {
    constexpr int kFixed = decltype(fixed)::value;
    if (in.kind == kAdditive)
      body(Additive{in.a, in.b, in.slope, in.da, in.db, o.heads}, fixed);
    else if (in.kind == kDynamic)
      body(Dynamic<kFixed>{in.a, in.b, in.att, in.slope, in.da, in.db, o.heads, o.channels}, fixed);
    else
      body(Scaled<kFixed>{in.a, in.b, in.slope, in.da, in.db, o.heads, o.channels}, fixed);
  });
}

}  // namespace
}  // namespace graphstill::attention

using namespace graphstill;
using namespace graphstill::attention;

GRAPHSTILL_ENTRY graphstill_attention(int64_t threads, int64_t kind, int64_t rows,
                                      const int64_t* rowptr, const int32_t* col,
                                      const float* value, const float* a, const float* b,
                                      const float* att, const float* bias, float* out, float* lse,
                                      int64_t heads, int64_t channels, float slope,
                                      int64_t self_loops) {
  return guarded([&] {
    const Operands o{rowptr, col, rowptr[rows], value, heads, channels, self_loops != 0};
    const Inputs in{(Kind)kind, a, b, att, slope, nullptr, nullptr};
    expect_large(out, rows, heads * channels);
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      with_score(o, in, [&](const auto& by, auto fixed) {
        forward<decltype(fixed)::value>(o, by, bias, out, lse, begin, end);
      });
    });
  });
}

GRAPHSTILL_ENTRY graphstill_attention_backward(
    int64_t threads, int64_t kind, int64_t rows, const int64_t* rowptr, const int32_t* col,
    int64_t sources, const int64_t* rowptr_t, const int32_t* row_t, const float* grad,
    const float* value, const float* a, const float* b, const float* att, const float* lse,
    const float* mean, float* dvalue, float* da, float* db, float* datt, int64_t heads,
    int64_t channels, float slope, int64_t self_loops) {
  return guarded([&] {
    const int64_t edges = rowptr[rows], width = heads * channels;
    const Operands by_row{rowptr, col, edges, value, heads, channels, self_loops != 0};
    const Operands by_source{rowptr_t, row_t, edges, value, heads, channels, self_loops != 0};
    const Inputs in{(Kind)kind, a, b, att, slope, da, db};
    const Gradients g{grad, lse, mean, dvalue};
    const int64_t width_a = kind == kAdditive ? heads : width;
    expect_large(dvalue, sources, width);
    expect_large(da, kind == kScaled ? rows : sources, width_a);
    expect_large(db, kind == kScaled ? sources : rows, width_a);
    const Blocks blocks(rowptr, rows);
    std::vector<float> parts(att ? blocks.count() * width : 0);  // of datt, a block each
    parallel_for(threads, blocks, [&](int64_t begin, int64_t end, int64_t block) {
      with_score(by_row, in, [&](const auto& by, auto fixed) {
        float* part = att ? parts.data() + block * width : nullptr;
        targets<decltype(fixed)::value>(by_row, by, g, part, begin, end);
      });
    });
    parallel_for(threads, Blocks(rowptr_t, sources), [&](int64_t begin, int64_t end, int64_t) {
      with_score(by_source, in, [&](const auto& by, auto fixed) {
        attention::sources<decltype(fixed)::value>(by_source, by, g, begin, end);
      });
    });
    for (int64_t f = 0; att && f < width; ++f) {
      float total = 0;
      for (int64_t block = 0; block < blocks.count(); ++block) total += parts[block * width + f];
      datt[f] = total;
    }
  });
}
