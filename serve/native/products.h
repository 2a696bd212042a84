// What nodes that multiply the rows at hand share: their weights, packed once, and their batches.

#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "../../kernels/native/product.h"
#include "kept.h"
#include "rows.h"

namespace graphstill {

// A packed weight, kept between calls.
class KeptProduct : public Kept<product::Packed, float> {};

// A weight packed in several pieces, likewise.
class KeptProducts : public Kept<std::vector<product::Packed>, float> {};

inline Activation activation_of(const Attributes& attributes, const char* name) {
  const std::string text = attributes.text(name);
  require(text == "none" || text == "relu" || text == "elu",
          std::string(name) + " must be none, relu or elu, got " + text);
  return text == "relu" ? kRelu : text == "elu" ? kElu : kNone;
}

// A weight of two dimensions, as it is given: [K, O], or [O, K].
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
  float at(int64_t k, int64_t o) const {
    return values.data[transposed ? o * inner() + k : k * outputs() + o];
  }
};

// So many numbers of a bias, or zeros, filled up to whole panels.
inline std::vector<float> whole_panels(const float* bias, int64_t count,
                                       const product::Packed& weight) {
  std::vector<float> filled(weight.panels() * product::kPanel);
  if (bias) std::copy_n(bias, count, filled.begin());
  return filled;
}
inline std::vector<float> whole_panels(const Tensor<const float>& bias,
                                       const product::Packed& weight) {
  return whole_panels(bias.data, bias.size(), weight);
}

// Multiplies sums of rows, a few at a time, while they are in cache: sum(first, last, near) makes them.
// `answers` says by what and where to, from the first row on.
template <class Sum>
void multiply_sums(const Context& context, const Rows& rows, const product::Operands& answers,
                   const Sum& sum) {
  const int64_t features = answers.terms[0].weight->inner(), batch = product::batch(features);
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<float[]> near(new float[batch * features]);
    for (int64_t first = begin; first < end; first += batch) {
      const int64_t last = std::min(end, first + batch);
      sum(first, last, near.get());
      product::Operands some = answers;
      some.terms[0].rows = near.get();
      if (some.terms[1].weight) some.terms[1].rows += first * some.terms[1].weight->inner();
      some.out += first * some.outputs;
      if (some.scale) some.scale += first;
      product::run(some, last - first);
    }
  });
}

}  // namespace graphstill
