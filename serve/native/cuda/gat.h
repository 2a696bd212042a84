// gat on a CUDA device.

#pragma once

#include "attention.h"

namespace graphstill::cuda {

class GatCuda {
 public:
  static constexpr const char* kName = Gat::kName;
  static constexpr auto& kInputs = Gat::kInputs;
  static constexpr auto& kOutputs = Gat::kOutputs;

  explicit GatCuda(const Attributes& attributes)
      : negative_slope_(attributes.real("negative_slope")),
        self_loops_(attributes.integer("add_self_loops") != 0) {}

  void compute(const Context& context) const {
    using namespace gat;
    static constexpr AttentionPlaces kPlaces{kRowptr, kCol,   kOut,     kLse,
                                             kSums,   kStats, kNumRows, kNumEdges};
    const DeviceRows rows(context);
    const auto x = context.input<float>(2);
    const auto src = context.input<float>(3);
    const auto dst = context.input<float>(4);
    const auto bias = context.input<float>(5);
    require(src.shape.size() == 2, "alpha_src must have two dimensions");
    const int64_t heads = src.shape[1], channels = channels_of(x, heads, "x");
    require_table(src, x.shape[0], heads, "alpha_src");
    require_table(dst, rows.count(), heads, "alpha_dst");
    require_ends(rows, x, bias, self_loops_);
    Arguments<kArguments + kHidden> arguments;
    arguments[kX] = address(x);
    arguments[kSrc] = address(src);
    arguments[kDst] = address(dst);
    arguments[kBias] = bias ? address(bias) : address(x);
    arguments.set(kSlope, negative_slope_);
    attend(context, rows, kVariants, {heads, channels, self_loops_, (bool)bias}, arguments, kPlaces,
           parts(rows.edges(), kChunk));
  }

 private:
  float negative_slope_;
  bool self_loops_;
};

}  // namespace graphstill::cuda
