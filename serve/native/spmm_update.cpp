// The node of spmm_update: sums of a few rows are multiplied while they are in cache, so that what
// lies between them and the answers is never as long as the graph.

#include "../../kernels/native/product.h"
#include "kept.h"
#include "kernels.h"
#include "spmm_inputs.h"

namespace graphstill {
namespace {

Activation activation_of(const Attributes& attributes, const char* name) {
  const std::string text = attributes.text(name);
  require(text == "none" || text == "relu" || text == "elu",
          std::string(name) + " must be none, relu or elu, got " + text);
  return text == "relu" ? kRelu : text == "elu" ? kElu : kNone;
}

// A weight of two dimensions, as it is given.
struct Weight {
  Tensor<const float> values;
  bool transposed;

  Weight(const Context& context, size_t index, bool transposed)
      : values(context.input<float>(index)), transposed(transposed) {
    require(!values || values.shape.size() == 2, "weights must have two dimensions");
  }
  explicit operator bool() const { return bool(values); }
  int64_t inner() const { return values.shape[transposed]; }
  int64_t outputs() const { return values.shape[!transposed]; }
};

// What is given beside what spmm is given; checked.
struct Update {
  Tensor<const float> residual, bias, root;
  Weight linear, root_weight;

  Update(const Context& context, bool transposed, bool root_transposed)
      : residual(context.input<float>(8)), bias(context.input<float>(10)),
        root(context.input<float>(11)), linear(context, 9, transposed),
        root_weight(context, 12, root_transposed) {}

  void check(int64_t count, int64_t features) const {
    require(!residual || residual.size() == count * features, "residual must be [num_nodes, F]");
    require(!linear || linear.inner() == features, "linear_weight must be [F, O]");
    require(!bias || (linear && bias.size() == linear.outputs()),
            "linear_bias needs a value per output");
    require(!root == !root_weight && (!root || linear),
            "root goes with root_weight and linear_weight");
    require(!root || (root_weight.outputs() == linear.outputs() &&
                      root.size() == count * root_weight.inner()),
            "root must be [num_nodes, K] and root_weight [K, O]");
  }
};

}  // namespace

struct SpmmUpdate::Weights {
  Kept<product::Packed, float> kept[2];  // of the sums, and of the node's own row
};

SpmmUpdate::SpmmUpdate(const Attributes& attributes)
    : mean_(attributes.mean("reduce")), activation_(activation_of(attributes, "activation")),
      out_activation_(activation_of(attributes, "out_activation")),
      transposed_(attributes.integer("trans_weight") != 0),
      root_transposed_(attributes.integer("trans_root") != 0),
      alpha_(attributes.real("alpha")), identity_(attributes.real("identity")),
      weights_(std::make_unique<Weights>()) {}
SpmmUpdate::~SpmmUpdate() = default;
SpmmUpdate::SpmmUpdate(SpmmUpdate&&) noexcept = default;

void SpmmUpdate::compute(const Context& context) const {
  const SpmmInputs inputs(context);
  const Update update(context, transposed_, root_transposed_);
  const int64_t count = inputs.rows.count, features = inputs.x.shape[1];
  update.check(count, features);
  const Weight &linear = update.linear, &root_weight = update.root_weight;
  require(identity_ == 0.0f || !linear || linear.outputs() == features,
          "identity needs a square linear_weight");
  spmm::Operands sums = inputs.operands(mean_);
  sums.residual = update.residual.data;
  sums.activation = (Activation)activation_;
  if (!linear) {
    sums.out = context.output<float>(0, {count, features});
    return inputs.rows.parallel_for(context,
                                    [&](int64_t begin, int64_t end) { sum_rows(sums, begin, end); });
  }
  std::unique_ptr<product::Packed> others[2];
  const auto packed = [&](int which, const Weight& weight, float alpha, float identity) {
    if (!weight) return (const product::Packed*)nullptr;
    return &weights_->kept[which].of(weight.values, others[which], [&](const auto& values) {
      return product::Packed(values.data, weight.inner(), weight.outputs(), weight.transposed,
                             alpha, identity);
    });
  };
  const product::Packed* weights[2] = {packed(0, linear, alpha_, identity_),
                                       packed(1, root_weight, 1.0f, 0.0f)};
  std::vector<float> bias(weights[0]->panels() * product::kPanel);
  if (update.bias) std::copy_n(update.bias.data, linear.outputs(), bias.begin());
  float* out = context.output<float>(0, {count, linear.outputs()});
  inputs.rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    const int64_t batch = product::batch(features);
    const std::unique_ptr<float[]> near(new float[batch * features]);
    spmm::Operands some = sums;
    some.out = near.get();
    for (int64_t row = begin; row < end; row += batch) {
      const int64_t last = std::min(end, row + batch);
      some.first_row = row;
      sum_rows(some, row, last);
      const float* own = update.root ? update.root.data + row * root_weight.inner() : nullptr;
      product::run({{{near.get(), weights[0]}, {own, weights[1]}},
                    bias.data(),
                    out + row * linear.outputs(),
                    linear.outputs(),
                    (Activation)out_activation_},
                   last - row);
    }
  });
}

}  // namespace graphstill
