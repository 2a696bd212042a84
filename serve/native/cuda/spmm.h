// spmm on a CUDA device.

#pragma once

#include "launch.h"

namespace graphstill::cuda {

class SpmmCuda {
 public:
  static constexpr const char* kName = Spmm::kName;
  static constexpr auto& kInputs = Spmm::kInputs;
  static constexpr auto& kOutputs = Spmm::kOutputs;

  explicit SpmmCuda(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

  void compute(const Context& context) const {
    using namespace spmm;
    // behind x, in the order of their bits in the key
    static constexpr Argument kOptional[] = {kWeight, kSrcScale, kDstScale, kSelfWeight, kBias};
    const DeviceRows rows(context);
    const auto x = context.input<float>(2);
    require(x.shape.size() == 2, "x must have two dimensions");
    const int64_t features = x.shape[1];
    const int64_t sizes[] = {rows.edges(), x.shape[0], rows.count(), rows.count(), features};
    Arguments<kArguments + kHidden> arguments;
    int64_t operands = 0;
    for (size_t i = 0; i < std::size(kOptional); ++i) {
      const auto given = context.input<float>(3 + i);
      require(!given || given.size() == sizes[i],
              "input " + std::to_string(3 + i) + " needs " + std::to_string(sizes[i]) + " values");
      operands |= (given ? 1 : 0) << i;
      arguments[kOptional[i]] = given ? address(given) : address(x);
    }
    float* out = context.output<float>(0, {rows.count(), features});
    if (rows.count() == 0 || features == 0) return;
    const Variant& variant = find(kVariants, {features, operands, mean_, 0});
    const int64_t num_parts = parts(rows.edges(), kChunk);
    const Stream stream = context.gpu_stream();
    const Room part(sizeof(float) * num_parts * features, stream);
    arguments[kRowptr] = address(rows.rowptr);
    arguments[kCol] = address(rows.col);
    arguments[kX] = arguments[kResidual] = address(x);
    arguments[kPart] = part.address();
    arguments[kOut] = reinterpret_cast<uint64_t>(out);
    arguments[kNumRows] = (uint64_t)rows.count();
    arguments[kNumEdges] = (uint64_t)rows.edges();
    arguments.launch(variant, num_parts, rows.count(), pieces(features, variant.block), stream);
  }

 private:
  bool mean_;
};

}  // namespace graphstill::cuda
