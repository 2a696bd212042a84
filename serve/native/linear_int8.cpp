// The nodes of quantize_rows and linear_int8; kernels/native/linear_int8.h computes.

#include "../../kernels/native/linear_int8.h"

#include <variant>

#include "kept.h"
#include "kernels.h"

namespace graphstill {
namespace {

namespace math = linear_int8;

constexpr int64_t kRowsOfTask = 64;
constexpr int64_t kMaxInner = 1 << 16;  // so many products of 8 bits fit into 32

#if defined(__AVX512BW__)
using AnyProduct = std::variant<math::Product<math::Dot2>, math::Product<math::Dot4>>;

AnyProduct make_product(const Tensor<const int8_t>& weight) {
  const int64_t outputs = weight.shape[0], inner = weight.shape[1];
  if (math::Dot4::usable()) return math::Product<math::Dot4>(weight.data, outputs, inner);
  return math::Product<math::Dot2>(weight.data, outputs, inner);
}
#else
using AnyProduct = std::variant<math::Product<math::Dot2>>;

AnyProduct make_product(const Tensor<const int8_t>& weight) {
  return math::Product<math::Dot2>(weight.data, weight.shape[0], weight.shape[1]);
}
#endif

}  // namespace

QuantizeRows::QuantizeRows(const Attributes& attributes) {
  const std::string activation = attributes.text("activation");
  require(activation == "none" || activation == "relu",
          "activation must be none or relu, got " + activation);
  relu_ = activation == "relu";
}

void QuantizeRows::compute(const Context& context) const {
  const auto x = context.input<float>(0);
  require(x.shape.size() == 2, "x must have two dimensions");
  const int64_t rows = x.shape[0], features = x.shape[1];
  int8_t* q = context.output<int8_t>(0, {rows, features});
  float* scale = context.output<float>(1, {rows});
  context.parallel_for((rows + kRowsOfTask - 1) / kRowsOfTask, [&](size_t task) {
    const int64_t begin = (int64_t)task * kRowsOfTask, end = std::min(rows, begin + kRowsOfTask);
    for (int64_t row = begin; row < end; ++row)
      scale[row] = math::quantize_row(x.data + row * features, features, relu_, q + row * features);
  });
}

struct LinearInt8::Prepared {
  Kept<AnyProduct, int8_t> product;
};

LinearInt8::LinearInt8(const Attributes&) : prepared_(std::make_unique<Prepared>()) {}
LinearInt8::~LinearInt8() = default;
LinearInt8::LinearInt8(LinearInt8&&) noexcept = default;

void LinearInt8::compute(const Context& context) const {
  const auto x = context.input<int8_t>(0);
  const auto scale = context.input<float>(1);
  const auto weight = context.input<int8_t>(2);
  const auto weight_scale = context.input<float>(3);
  const auto bias = context.input<float>(4);
  const auto residual = context.input<float>(5);
  require(x.shape.size() == 2 && weight.shape.size() == 2 && x.shape[1] == weight.shape[1],
          "x must be [num_nodes, K] and weight [outputs, K]");
  const int64_t rows = x.shape[0], inner = x.shape[1], outputs = weight.shape[0];
  require(inner <= kMaxInner, "K may be at most " + std::to_string(kMaxInner));
  require(scale.size() == rows, "scale needs one value per row of x");
  require(weight_scale.size() == outputs, "weight_scale needs one value per output");
  require(!bias || bias.size() == outputs, "bias needs one value per output");
  require(!residual || residual.size() == rows * outputs, "residual must be [num_nodes, outputs]");
  float* out = context.output<float>(0, {rows, outputs});
  if (rows == 0 || outputs == 0) return;
  const math::Operands operands{x.data,        scale.data, weight_scale.data, bias.data,
                                residual.data, out,        rows,              inner,
                                outputs};
  std::unique_ptr<AnyProduct> other;
  std::visit(
      [&](const auto& product) {
        context.parallel_for(product.tasks(rows),
                             [&](size_t task) { product.run(operands, (int64_t)task); });
      },
      prepared_->product.of(weight, other, make_product));
}

}  // namespace graphstill
