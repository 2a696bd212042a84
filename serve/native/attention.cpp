// The nodes of gat, gatv2 and dot_attention; kernels/native/attention.h computes. That of gat_update
// sums rows before it multiplies them: a few rows' sums, one for each head, are multiplied while they
// are in cache.

#include "../../kernels/native/attention.h"
#include "../../kernels/native/scores.h"
#include "attention_checks.h"
#include "attention_nodes.h"
#include "products.h"

namespace graphstill {
namespace {

// Computes all rows; score(fixed) makes what edges are scored by, for a number of channels.
template <class Score>
void attend(const Context& context, const Rows& rows, const attention::Operands& o,
            const float* bias, const Score& score) {
  float* out = context.output<float>(0, {rows.count, o.out_width()});
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    with_channels(o.channels, [&](auto fixed) {
      attention::forward<decltype(fixed)::value>(o, score(fixed), bias, out, nullptr, begin, end);
    });
  });
}

// The weight [F, H · C] of all heads, whose answers are averaged, as one [H · F, C].
product::Packed mean_over_heads(const Weight& weight, int64_t heads) {
  const int64_t features = weight.inner(), channels = weight.outputs() / heads;
  std::vector<float> stacked(features * weight.outputs());
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t f = 0; f < features; ++f)
      for (int64_t c = 0; c < channels; ++c)
        stacked[(h * features + f) * channels + c] = weight.at(f, h * channels + c);
  return product::Packed(stacked.data(), heads * features, channels, false, 1.0f / (float)heads);
}

// What the two nodes of GAT are given first; checked.
struct GatInputs {
  Rows rows;
  Tensor<const float> x, alpha_src, alpha_dst;
  int64_t heads;

  GatInputs(const Context& context, bool self_loops)
      : rows(context.input<int64_t>(0), context.input<int32_t>(1)), x(context.input<float>(2)),
        alpha_src(context.input<float>(3)), alpha_dst(context.input<float>(4)) {
    require(x.shape.size() == 2, "x must have two dimensions");
    require(alpha_src.shape.size() == 2, "alpha_src must have two dimensions");
    heads = alpha_src.shape[1];
    require_table(alpha_src, x.shape[0], heads, "alpha_src");
    require_table(alpha_dst, rows.count, heads, "alpha_dst");
    require_loops(rows, x, self_loops);
  }

  attention::Operands operands(int64_t channels, bool self_loops) const {
    return {rows.rowptr, rows.col, rows.edges, x.data, heads, channels, self_loops};
  }
  attention::Additive score(float negative_slope) const {
    return {alpha_src.data, alpha_dst.data, negative_slope, nullptr, nullptr, heads};
  }
};

}  // namespace

Gat::Gat(const Attributes& attributes, bool mean_heads)
    : mean_heads_(mean_heads),
      negative_slope_(attributes.real("negative_slope")),
      self_loops_(attributes.integer("add_self_loops") != 0) {}

void Gat::compute(const Context& context) const {
  const GatInputs inputs(context, self_loops_);
  const auto bias = context.input<float>(5);
  const int64_t channels = channels_of(inputs.x, inputs.heads, "x");
  attention::Operands o = inputs.operands(channels, self_loops_);
  o.mean_heads = mean_heads_;
  require_bias(bias, o.out_width());
  attend(context, inputs.rows, o, bias.data,
         [&](auto) { return inputs.score(negative_slope_); });
}

GatUpdate::GatUpdate(const Attributes& attributes)
    : negative_slope_(attributes.real("negative_slope")),
      self_loops_(attributes.integer("add_self_loops") != 0),
      transposed_(attributes.integer("trans_weight") != 0),
      activation_(activation_of(attributes, "activation")), weight_(std::make_unique<KeptProduct>()) {}
GatUpdate::~GatUpdate() = default;
GatUpdate::GatUpdate(GatUpdate&&) noexcept = default;

void GatUpdate::compute(const Context& context) const {
  const GatInputs inputs(context, self_loops_);
  const Weight weight(context, 5, transposed_);
  const auto bias = context.input<float>(6);
  const int64_t heads = inputs.heads, features = inputs.x.shape[1];
  require(weight.inner() == features, "linear_weight needs a row for each feature of x");
  require(heads > 0 && weight.outputs() % heads == 0,
          "linear_weight must be as wide as heads times channels");
  const int64_t channels = weight.outputs() / heads;
  require_bias(bias, channels);
  attention::Operands o = inputs.operands(features, self_loops_);
  o.shared = true;
  const attention::Additive score = inputs.score(negative_slope_);
  std::unique_ptr<product::Packed> other;
  const product::Packed& packed = weight_->of(
      weight.values, other, [&](const auto&) { return mean_over_heads(weight, heads); });
  const std::vector<float> filled = whole_panels(bias, packed);
  float* out = context.output<float>(0, {inputs.rows.count, channels});
  multiply_sums(context, inputs.rows,
                {{{nullptr, &packed}, {}}, filled.data(), out, channels, activation_},
                [&](int64_t first, int64_t last, float* near) {
                  attention::Operands some = o;
                  some.first_row = first;
                  with_channels(features, [&](auto fixed) {
                    constexpr int kFixed = decltype(fixed)::value;
                    attention::forward<kFixed>(some, score, nullptr, near, nullptr, first, last);
                  });
                });
}

Gatv2::Gatv2(const Attributes& attributes, bool mean_heads)
    : mean_heads_(mean_heads),
      negative_slope_(attributes.real("negative_slope")),
      self_loops_(attributes.integer("add_self_loops") != 0) {}

void Gatv2::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto x_l = context.input<float>(2);
  const auto x_r = context.input<float>(3);
  const auto att = context.input<float>(4);
  const auto bias = context.input<float>(5);
  require(att.shape.size() == 2, "att must have two dimensions");
  const int64_t heads = att.shape[0], channels = channels_of(x_l, heads, "x_l");
  require_table(att, heads, channels, "att");
  require_table(x_r, rows.count, x_l.shape[1], "x_r");
  const attention::Operands o{rows.rowptr, rows.col, rows.edges,  x_l.data,
                              heads,       channels, self_loops_, mean_heads_};
  require_bias(bias, o.out_width());
  require_loops(rows, x_l, self_loops_);
  attend(context, rows, o, bias.data, [&](auto fixed) {
    return attention::Dynamic<decltype(fixed)::value>{
        x_l.data, x_r.data, att.data, negative_slope_, nullptr, nullptr, heads, channels};
  });
}

DotAttention::DotAttention(const Attributes& attributes, bool mean_heads)
    : mean_heads_(mean_heads), heads_(attributes.integer("heads")) {}

void DotAttention::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto query = context.input<float>(2);
  const auto key = context.input<float>(3);
  const auto value = context.input<float>(4);
  const int64_t channels = channels_of(value, heads_, "value");
  require_table(query, rows.count, value.shape[1], "query");
  require_table(key, value.shape[0], value.shape[1], "key");
  const attention::Operands o{rows.rowptr, rows.col, rows.edges, value.data,
                              heads_,      channels, false,      mean_heads_};
  const float factor = 1.0f / std::sqrt((float)channels);
  attend(context, rows, o, nullptr, [&](auto fixed) {
    return attention::Scaled<decltype(fixed)::value>{
        query.data, key.data, factor, nullptr, nullptr, heads_, channels};
  });
}

}  // namespace graphstill
