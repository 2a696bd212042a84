// extremum on a CUDA device.

#pragma once

#include "launch.h"

namespace graphstill::cuda {

class ExtremumCuda {
 public:
  static constexpr const char* kName = Extremum::kName;
  static constexpr auto& kInputs = Extremum::kInputs;
  static constexpr auto& kOutputs = Extremum::kOutputs;

  explicit ExtremumCuda(const Attributes& attributes) {
    const std::string reduce = attributes.text("reduce");
    require(reduce == "max" || reduce == "min", "reduce must be max or min, got " + reduce);
    largest_ = reduce == "max";
  }

  void compute(const Context& context) const {
    using namespace extremum;
    const DeviceRows rows(context);
    const auto x = context.input<float>(2);
    const auto weight = context.input<float>(3);
    require(x.shape.size() == 2, "x must have two dimensions");
    require(!weight || weight.size() == rows.edges(), "weight needs one value per edge");
    const int64_t features = x.shape[1];
    float* out = context.output<float>(0, {rows.count(), features});
    if (rows.count() == 0 || features == 0) return;
    const Variant& variant = find(kVariants, {features, (bool)weight, largest_, 0});
    const int64_t num_parts = parts(rows.edges(), kChunk);
    const Stream stream = context.gpu_stream();
    const Room part(sizeof(float) * num_parts * features, stream);
    Arguments<kArguments + kHidden> arguments;
    arguments[kRowptr] = address(rows.rowptr);
    arguments[kCol] = address(rows.col);
    arguments[kX] = address(x);
    arguments[kWeight] = weight ? address(weight) : address(x);
    arguments[kOut] = reinterpret_cast<uint64_t>(out);
    arguments[kPart] = part.address();
    arguments[kNumRows] = (uint64_t)rows.count();
    arguments[kNumEdges] = (uint64_t)rows.edges();
    arguments.launch(variant, num_parts, rows.count(), pieces(features, variant.block), stream);
  }

 private:
  bool largest_;
};

}  // namespace graphstill::cuda
