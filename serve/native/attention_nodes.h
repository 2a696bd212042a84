// The operators that attend; kernels.h says where each is defined.

#pragma once

#include <memory>

#include "ort.h"

namespace graphstill {

enum Activation : int64_t;  // kernels/native/activation.h
class KeptProduct;          // products.h
class KeptProducts;

struct Gat {
  static constexpr const char* kName = "gat";
  // rowptr [N + 1], col [E], x [M, H·C], alpha_src [M, H], alpha_dst [N, H], bias [H·C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat},
                                     {kFloat}, {kFloat}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, H·C]

  explicit Gat(const Attributes& attributes, bool mean_heads = false);
  void compute(const Context& context) const;

 private:
  bool mean_heads_;
  float negative_slope_;
  bool self_loops_;
};

struct Gatv2 {
  static constexpr const char* kName = "gatv2";
  // rowptr [N + 1], col [E], x_l [M, H·C], x_r [N, H·C], att [H, C], bias [H·C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat},
                                     {kFloat}, {kFloat}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, H·C]

  explicit Gatv2(const Attributes& attributes, bool mean_heads = false);
  void compute(const Context& context) const;

 private:
  bool mean_heads_;
  float negative_slope_;
  bool self_loops_;
};

struct DotAttention {
  static constexpr const char* kName = "dot_attention";
  // rowptr [N + 1], col [E], query [N, H·C], key [M, H·C], value [M, H·C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat}, {kFloat}, {kFloat}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, H·C]

  explicit DotAttention(const Attributes& attributes, bool mean_heads = false);
  void compute(const Context& context) const;

 private:
  bool mean_heads_;
  int64_t heads_;
};

// The same, the mean over heads in place of all of them: out [N, C], and a bias is [C].
struct GatMean : Gat {
  static constexpr const char* kName = "gat_mean";
  explicit GatMean(const Attributes& attributes) : Gat(attributes, true) {}
};

struct Gatv2Mean : Gatv2 {
  static constexpr const char* kName = "gatv2_mean";
  explicit Gatv2Mean(const Attributes& attributes) : Gatv2(attributes, true) {}
};

struct DotAttentionMean : DotAttention {
  static constexpr const char* kName = "dot_attention_mean";
  explicit DotAttentionMean(const Attributes& attributes) : DotAttention(attributes, true) {}
};

// The mean over heads of attention to x · linear_weight, multiplied after it is summed, and an
// activation.
struct GatUpdate {
  static constexpr const char* kName = "gat_update";
  // rowptr [N + 1], col [E], x [M, F], alpha_src [M, H], alpha_dst [N, H], linear_weight [F, H·C],
  // bias [C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat},           {kFloat},
                                     {kFloat}, {kFloat}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, C]

  explicit GatUpdate(const Attributes& attributes);
  ~GatUpdate();
  GatUpdate(GatUpdate&&) noexcept;
  void compute(const Context& context) const;

 private:
  float negative_slope_;
  bool self_loops_, transposed_;  // whether the weight is [H·C, F]
  Activation activation_;
  std::unique_ptr<KeptProduct> weight_;
};

// The products of both ends, GATv2's attention to them, and an activation: a few heads at a time are
// multiplied and attended to, those of a row's own end while they are in cache.
struct Gatv2Update {
  static constexpr const char* kName = "gatv2_update";
  // rowptr [N + 1], col [E], x [M, F], x_dst [N, D], weight_l [F, H·C], weight_r [D, H·C], att [H, C],
  // bias_l [H·C], bias_r [H·C], bias [H·C] or, of averaged heads, [C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat},
                                     {kFloat}, {kFloat}, {kFloat},
                                     {kFloat}, {kFloat, kOptional}, {kFloat, kOptional},
                                     {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, H·C], or [N, C]

  explicit Gatv2Update(const Attributes& attributes);
  ~Gatv2Update();
  Gatv2Update(Gatv2Update&&) noexcept;
  void compute(const Context& context) const;

 private:
  float negative_slope_;
  bool self_loops_, mean_heads_, transposed_l_, transposed_r_;  // whether a weight is [H·C, F]
  Activation activation_;
  std::unique_ptr<KeptProducts> weight_l_, weight_r_;
};

}  // namespace graphstill
