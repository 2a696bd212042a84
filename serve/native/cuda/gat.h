// gat on a CUDA device: a program for each row and head.

#pragma once

#include "launch.h"

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
    const DeviceRows rows(context);
    const auto x = context.input<float>(2);
    const auto src = context.input<float>(3);
    const auto dst = context.input<float>(4);
    const auto bias = context.input<float>(5);
    require(x.shape.size() == 2, "x must have two dimensions");
    require(src.shape.size() == 2 && src.shape[0] == x.shape[0], "alpha_src must be [M, H]");
    const int64_t heads = src.shape[1], width = x.shape[1];
    require(heads > 0 && width % heads == 0, "x must be as wide as heads times channels");
    require(dst.shape == std::vector<int64_t>({rows.count(), heads}), "alpha_dst must be [N, H]");
    require(!bias || bias.size() == width, "bias needs one value per column of the features");
    require(!self_loops_ || rows.count() <= x.shape[0], "self loops need features of each node");
    float* out = context.output<float>(0, {rows.count(), width});
    if (rows.count() == 0 || width == 0) return;
    const Variant& variant = find(kVariants, {heads, width / heads, self_loops_, (bool)bias});
    const int64_t num_parts = parts(rows.edges(), kChunk);
    const Stream stream = context.gpu_stream();
    const Room lse(sizeof(float) * rows.count() * heads, stream);  // for a backward pass: unread
    const Room sums(sizeof(float) * num_parts * width, stream);
    const Room stats(sizeof(float) * num_parts * heads * 2, stream);
    Arguments<kArguments + kHidden> arguments;
    arguments[kRowptr] = address(rows.rowptr);
    arguments[kCol] = address(rows.col);
    arguments[kX] = address(x);
    arguments[kSrc] = address(src);
    arguments[kDst] = address(dst);
    arguments[kBias] = bias ? address(bias) : address(x);
    arguments[kOut] = reinterpret_cast<uint64_t>(out);
    arguments[kLse] = lse.address();
    arguments[kSums] = sums.address();
    arguments[kStats] = stats.address();
    arguments.set(kSlope, negative_slope_);
    arguments[kNumRows] = (uint64_t)rows.count();
    arguments[kNumEdges] = (uint64_t)rows.edges();
    arguments.launch(variant, num_parts, rows.count(), heads, stream);
  }

 private:
  float negative_slope_;
  bool self_loops_;
};

}  // namespace graphstill::cuda
