// The node of gatv2_update: GATv2 with the products of both ends in it.
//
// Scores need x_l = x W_l of every source; x_r = x_dst W_r is needed where a row is, and made there. So
// that no product of all heads is ever held, a few heads are multiplied and attended to before the next
// ones are. To walk the edges again for them costs little where there are about kTogether channels.

#include <algorithm>
#include <vector>

#include "../../kernels/native/attention.h"
#include "../../kernels/native/memory.h"
#include "../../kernels/native/scores.h"
#include "attention_checks.h"
#include "attention_nodes.h"
#include "products.h"

namespace graphstill {
namespace {

constexpr int64_t kTogether = 64;

// How many heads are multiplied together: as many in each walk, or one fewer in the last.
int64_t heads_together(int64_t heads, int64_t channels) {
  const int64_t most = std::clamp<int64_t>(kTogether / channels, 1, heads);
  const int64_t walks = (heads + most - 1) / most;
  return (heads + walks - 1) / walks;
}

// A weight [F, H · C] as one for each few heads, [F, width] or what is left.
std::vector<product::Packed> pieces_of(const Weight& weight, int64_t width) {
  std::vector<product::Packed> pieces;
  for (int64_t first = 0; first < weight.outputs(); first += width) {
    const int64_t count = std::min(width, weight.outputs() - first);
    std::vector<float> piece(weight.inner() * count);
    for (int64_t k = 0; k < weight.inner(); ++k)
      for (int64_t o = 0; o < count; ++o) piece[k * count + o] = weight.at(k, first + o);
    pieces.emplace_back(piece.data(), weight.inner(), count, false);
  }
  return pieces;
}

// Some heads of one end of edges: rows, and what they are multiplied by.
struct Product {
  const float* rows;
  int64_t features;
  const product::Packed& weight;
  std::vector<float> bias;
  int64_t width;

  Product(const Tensor<const float>& x, const product::Packed& weight,
          const Tensor<const float>& bias, int64_t first, int64_t width)
      : rows(x.data), features(x.shape[1]), weight(weight),
        bias(whole_panels(bias ? bias.data + first : nullptr, width, weight)), width(width) {}

  // Writes the products of some rows.
  void run(int64_t begin, int64_t end, float* out) const {
    product::run({{{rows + begin * features, &weight}, {}}, bias.data(), out, width, kNone},
                 end - begin);
  }
};

void multiply_all(const Context& context, const Product& product, int64_t rows, float* out) {
  const int64_t batch = product::batch(product.features);
  context.parallel_for((rows + batch - 1) / batch, [&](size_t task) {
    const int64_t begin = (int64_t)task * batch;
    product.run(begin, std::min(rows, begin + batch), out + begin * product.width);
  });
}

// What a node is given.
struct Given {
  Rows rows;
  Tensor<const float> x, x_dst;
  Weight weight_l, weight_r;
  Tensor<const float> att, bias_l, bias_r, bias;

  Given(const Context& context, bool transposed_l, bool transposed_r)
      : rows(context.input<int64_t>(0), context.input<int32_t>(1)), x(context.input<float>(2)),
        x_dst(context.input<float>(3)), weight_l(context, 4, transposed_l),
        weight_r(context, 5, transposed_r), att(context.input<float>(6)),
        bias_l(context.input<float>(7)), bias_r(context.input<float>(8)),
        bias(context.input<float>(9)) {}

  int64_t heads() const { return att.shape[0]; }
  int64_t channels() const { return att.shape[1]; }
  int64_t width() const { return att.size(); }

  void check(bool self_loops, bool mean_heads) const {
    require(att.shape.size() == 2 && att.size() > 0, "att must be [heads, channels], of some of each");
    require(x.shape.size() == 2 && x.shape[1] == weight_l.inner(),
            "weight_l needs a row for each feature of x");
    require_table(x_dst, rows.count, weight_r.inner(), "x_dst");
    require(weight_l.outputs() == width() && weight_r.outputs() == width(),
            "weight_l and weight_r must be as wide as heads times channels");
    require_bias(bias_l, width(), "bias_l");
    require_bias(bias_r, width(), "bias_r");
    require_bias(bias, mean_heads ? channels() : width(), "bias");
    require_loops(rows, x, self_loops);
  }
};

// Some heads: the products of every source, how those of rows are made, and what scores both.
struct Few {
  attention::Operands sources;  // value holds the products
  Product right;
  const float* att;
  float negative_slope;

  // Writes the answers of some rows, and their own ends before.
  void run(int64_t begin, int64_t end, float* own, float* answer) const {
    right.run(begin, end, own);
    attention::Operands o = sources;
    o.first_row = begin;
    with_channels(o.channels, [&](auto fixed) {
      constexpr int kFixed = decltype(fixed)::value;
      const attention::Dynamic<kFixed> score{o.value, own,     att,        negative_slope, nullptr,
                                             nullptr, o.heads, o.channels, begin};
      attention::forward<kFixed>(o, score, nullptr, answer, nullptr, begin, end);
    });
  }
};

// Where answers go: those of some heads into their columns, or added up over all heads.
struct Answers {
  float* out;
  int64_t width;       // of a row
  int64_t averaged;    // heads, or 0
  const float* bias;   // of a row, or null
  Activation activation;

  // Takes the answers of some rows, `count` columns from `first` on.
  void put(int64_t begin, int64_t end, const float* answer, int64_t first, int64_t count) const {
    for (int64_t row = begin; row < end; ++row, answer += count)
      averaged ? put_mean(row, answer, first, count) : put_row(row, answer, first, count);
  }

 private:
  void put_row(int64_t row, const float* answer, int64_t first, int64_t count) const {
    float* to = out + row * width + first;
    std::copy_n(answer, count, to);
    if (bias) add<0>(to, 1.0f, bias + first, count);
    activate(to, count, activation);
  }
  void put_mean(int64_t row, const float* answer, int64_t first, int64_t count) const {
    float* to = out + row * width;
    if (first == 0) std::fill_n(to, width, 0.0f);
    for (int64_t at = 0; at < count; at += width)
      add<0>(to, 1.0f / (float)averaged, answer + at, width);
    if (first + count < averaged * width) return;
    if (bias) add<0>(to, 1.0f, bias, width);
    activate(to, width, activation);
  }
};

// Attends to some heads of all rows, a batch of rows at a time.
void attend(const Context& context, const Rows& rows, const Few& few, const Answers& answers,
            int64_t first) {
  const int64_t count = few.right.width;
  const int64_t batch = product::batch(std::max(few.right.features, count));
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    const AlignedFloats near = aligned_floats(2 * batch, count);
    float *own = near.get(), *answer = own + batch * count;
    for (int64_t from = begin; from < end; from += batch) {
      const int64_t to = std::min(end, from + batch);
      few.run(from, to, own, answer);
      answers.put(from, to, answer, first, count);
    }
  });
}

}  // namespace

Gatv2Update::Gatv2Update(const Attributes& attributes)
    : negative_slope_(attributes.real("negative_slope")),
      self_loops_(attributes.integer("add_self_loops") != 0),
      mean_heads_(attributes.integer("mean_heads") != 0),
      transposed_l_(attributes.integer("trans_l") != 0),
      transposed_r_(attributes.integer("trans_r") != 0),
      activation_(activation_of(attributes, "activation")),
      weight_l_(std::make_unique<KeptProducts>()), weight_r_(std::make_unique<KeptProducts>()) {}
Gatv2Update::~Gatv2Update() = default;
Gatv2Update::Gatv2Update(Gatv2Update&&) noexcept = default;

void Gatv2Update::compute(const Context& context) const {
  const Given given(context, transposed_l_, transposed_r_);
  given.check(self_loops_, mean_heads_);
  const int64_t channels = given.channels(), width = given.width();
  const int64_t together = channels * heads_together(given.heads(), channels);
  std::unique_ptr<std::vector<product::Packed>> other_l, other_r;
  const auto pieces = [&](const Weight& weight) {
    return [&](const auto&) { return pieces_of(weight, together); };
  };
  const auto& pieces_l = weight_l_->of(given.weight_l.values, other_l, pieces(given.weight_l));
  const auto& pieces_r = weight_r_->of(given.weight_r.values, other_r, pieces(given.weight_r));
  const Rows& rows = given.rows;
  const int64_t out_width = mean_heads_ ? channels : width;
  const Answers answers{context.output<float>(0, {rows.count, out_width}), out_width,
                        mean_heads_ ? given.heads() : 0, given.bias.data, activation_};
  const int64_t sources = given.x.shape[0];
  const AlignedFloats x_l = aligned_floats(sources, together);
  for (int64_t first = 0; first < width; first += together) {
    const int64_t count = std::min(together, width - first), piece = first / together;
    multiply_all(context, {given.x, pieces_l[piece], given.bias_l, first, count}, sources, x_l.get());
    const Few few{{rows.rowptr, rows.col, rows.edges, x_l.get(), count / channels, channels, self_loops_},
                  {given.x_dst, pieces_r[piece], given.bias_r, first, count},
                  given.att.data + first, negative_slope_};
    attend(context, rows, few, answers, first);
  }
}

}  // namespace graphstill
