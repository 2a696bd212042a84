// gatv2 on a CUDA device.

#pragma once

#include "attention.h"

namespace graphstill::cuda {

class Gatv2Cuda {
 public:
  static constexpr const char* kName = Gatv2::kName;
  static constexpr auto& kInputs = Gatv2::kInputs;
  static constexpr auto& kOutputs = Gatv2::kOutputs;

  explicit Gatv2Cuda(const Attributes& attributes)
      : negative_slope_(attributes.real("negative_slope")),
        self_loops_(attributes.integer("add_self_loops") != 0) {}

  void compute(const Context& context) const {
    using namespace gatv2;
    static constexpr AttentionPlaces kPlaces{kRowptr, kCol,   kOut,     kLse,
                                             kSums,   kStats, kNumRows, kNumEdges};
    const DeviceRows rows(context);
    const auto x_l = context.input<float>(2);
    const auto x_r = context.input<float>(3);
    const auto att = context.input<float>(4);
    const auto bias = context.input<float>(5);
    require(att.shape.size() == 2, "att must have two dimensions");
    const int64_t heads = att.shape[0], channels = channels_of(x_l, heads, "x_l");
    require_table(att, heads, channels, "att");
    require_table(x_r, rows.count(), x_l.shape[1], "x_r");
    require_ends(rows, x_l, bias, self_loops_);
    Arguments<kArguments + kHidden> arguments;
    arguments[kXl] = address(x_l);
    arguments[kXr] = address(x_r);
    arguments[kAtt] = address(att);
    arguments[kBias] = bias ? address(bias) : address(x_l);
    arguments.set(kSlope, negative_slope_);
    attend(context, rows, kVariants, {heads, channels, self_loops_, (bool)bias}, arguments, kPlaces,
           parts(rows.edges(), kChunk));
  }

 private:
  float negative_slope_;
  bool self_loops_;
};

}  // namespace graphstill::cuda
