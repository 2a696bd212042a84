// The node of spmm_update: sums of a few rows are multiplied while they are in cache, so that what
// lies between them and the answers is never as long as the graph.

#include "kernels.h"
#include "products.h"
#include "spmm_inputs.h"

namespace graphstill {
namespace {

// What is given beside what spmm is given; checked.
struct Update {
  Tensor<const float> residual, bias, root, out_scale;
  Weight linear, root_weight;

  Update(const Context& context, bool transposed, bool root_transposed)
      : residual(context.input<float>(8)), bias(context.input<float>(10)),
        root(context.input<float>(11)), out_scale(context.input<float>(13)), linear(context, 9, transposed),
        root_weight(context, 12, root_transposed) {}

  void check(int64_t count, int64_t features, bool identity) const {
    require(!residual || residual.size() == count * features, "residual must be [num_nodes, F]");
    require(!linear || linear.inner() == features, "linear_weight must be [F, O]");
    require(!bias || (linear && bias.size() == linear.outputs()),
            "linear_bias needs a value per output");
    require(!root == !root_weight && (!root || linear),
            "root goes with root_weight and linear_weight");
    require(!root || (root_weight.outputs() == linear.outputs() &&
                      root.size() == count * root_weight.inner()),
            "root must be [num_nodes, K] and root_weight [K, O]");
    require(!out_scale || out_scale.size() == count, "out_scale needs one value per node");
    require(!identity || !linear || linear.outputs() == features,
            "identity needs a square linear_weight");
  }
};

// The packed weight, of which there may be none.
const product::Packed* packed(KeptProduct& kept, const Weight& weight,
                              std::unique_ptr<product::Packed>& other, float alpha, float identity) {
  if (!weight) return nullptr;
  return &kept.of(weight.values, other, [&](const auto& values) {
    return product::Packed(values.data, weight.inner(), weight.outputs(), weight.transposed, alpha,
                           identity);
  });
}

}  // namespace

SpmmUpdate::SpmmUpdate(const Attributes& attributes)
    : mean_(attributes.mean("reduce")), activation_(activation_of(attributes, "activation")),
      out_activation_(activation_of(attributes, "out_activation")),
      transposed_(attributes.integer("trans_weight") != 0),
      root_transposed_(attributes.integer("trans_root") != 0),
      alpha_(attributes.real("alpha")), identity_(attributes.real("identity")),
      linear_(std::make_unique<KeptProduct>()), root_(std::make_unique<KeptProduct>()) {}
SpmmUpdate::~SpmmUpdate() = default;
SpmmUpdate::SpmmUpdate(SpmmUpdate&&) noexcept = default;

void SpmmUpdate::compute(const Context& context) const {
  const SpmmInputs inputs(context);
  const Update update(context, transposed_, root_transposed_);
  update.check(inputs.rows.count, inputs.x.shape[1], identity_ != 0.0f);
  spmm::Operands sums = inputs.operands(mean_);
  sums.residual = update.residual.data;
  sums.activation = activation_;
  if (!update.linear) {
    sums.out = context.output<float>(0, {inputs.rows.count, sums.features});
    return inputs.rows.parallel_for(context, [&](int64_t begin, int64_t end) {
      sum_rows(sums, begin, end);
      if (update.out_scale)
        for (int64_t row = begin; row < end; ++row)
          scale(sums.out + row * sums.features, update.out_scale.data[row], sums.features);
    });
  }
  std::unique_ptr<product::Packed> others[2];
  const product::Packed* linear = packed(*linear_, update.linear, others[0], alpha_, identity_);
  const product::Packed* root = packed(*root_, update.root_weight, others[1], 1.0f, 0.0f);
  const std::vector<float> bias = whole_panels(update.bias, *linear);
  const int64_t outputs = update.linear.outputs();
  float* out = context.output<float>(0, {inputs.rows.count, outputs});
  multiply_sums(context, inputs.rows,
                {{{nullptr, linear}, {update.root.data, root}}, bias.data(), out, outputs,
                 out_activation_, update.out_scale.data},
                [&](int64_t first, int64_t last, float* near) {
                  spmm::Operands some = sums;
                  some.out = near;
                  some.first_row = first;
                  sum_rows(some, first, last);
                });
}

}  // namespace graphstill
