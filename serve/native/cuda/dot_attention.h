// dot_attention on a CUDA device.

#pragma once

#include <cmath>

#include "attention.h"

namespace graphstill::cuda {

class DotAttentionCuda {
 public:
  static constexpr const char* kName = DotAttention::kName;
  static constexpr auto& kInputs = DotAttention::kInputs;
  static constexpr auto& kOutputs = DotAttention::kOutputs;

  explicit DotAttentionCuda(const Attributes& attributes) : heads_(attributes.integer("heads")) {}

  void compute(const Context& context) const {
    using namespace dot_attention;
    static constexpr AttentionPlaces kPlaces{kRowptr, kCol,   kOut,     kLse,
                                             kSums,   kStats, kNumRows, kNumEdges};
    const DeviceRows rows(context);
    const auto query = context.input<float>(2);
    const auto key = context.input<float>(3);
    const auto value = context.input<float>(4);
    const int64_t channels = channels_of(value, heads_, "value");
    require_table(query, rows.count(), value.shape[1], "query");
    require_table(key, value.shape[0], value.shape[1], "key");
    Arguments<kArguments + kHidden> arguments;
    arguments[kQuery] = address(query);
    arguments[kKey] = address(key);
    arguments[kValue] = address(value);
    arguments.set(kScale, 1.0f / std::sqrt((float)channels));
    attend(context, rows, kVariants, {heads_, channels, 0, 0}, arguments, kPlaces,
           parts(rows.edges(), kChunk));
  }

 private:
  int64_t heads_;
};

}  // namespace graphstill::cuda
