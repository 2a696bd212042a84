// The operators of the `graphstill` domain, version 1. Their definitions, in plain torch, are in
// kernels/reference/; names, inputs and meaning are the same there.

#pragma once

#include <memory>

#include "attention_nodes.h"
#include "ort.h"

namespace graphstill {

enum Activation : int64_t;  // kernels/native/activation.h
class KeptProduct;          // products.h

struct Csr {
  static constexpr const char* kName = "csr";
  // edge_index [2, E], num_src, num_dst
  static constexpr Slot kInputs[] = {{kInt64}, {kInt64}, {kInt64}};
  // rowptr [num_dst + 1], col [E], perm [E]
  static constexpr Slot kOutputs[] = {{kInt64}, {kInt32}, {kInt64, kOptional}};

  explicit Csr(const Attributes&) {}
  void compute(const Context& context) const;
};

struct GcnNorm {
  static constexpr const char* kName = "gcn_norm";
  // rowptr [N + 1], col [E], weight [E], in_degree [N] or [0]
  static constexpr Slot kInputs[] = {
      {kInt64}, {kInt32}, {kFloat, kOptional}, {kFloat, kOptional}};
  // scale [N], self_weight [N]
  static constexpr Slot kOutputs[] = {{kFloat}, {kFloat}};

  explicit GcnNorm(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  float fill_value_;
  bool self_loops_;
};

struct Spmm {
  static constexpr const char* kName = "spmm";
  // rowptr [N + 1], col [E], x [M, F], weight [E], src_scale [M], dst_scale [N], self_weight [N],
  // bias [F]
  static constexpr Slot kInputs[] = {{kInt64},           {kInt32},           {kFloat},
                                     {kFloat, kOptional}, {kFloat, kOptional}, {kFloat, kOptional},
                                     {kFloat, kOptional}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, F]

  explicit Spmm(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  bool mean_;
};

// spmm, and what a layer then does with each node's row: what is added to it, an activation, a
// product with a weight, to which the product of the node's own row may be added, and a factor.
struct SpmmUpdate {
  static constexpr const char* kName = "spmm_update";
  // spmm's, residual [N, F], linear_weight [F, O], linear_bias [O], root [N, K], root_weight [K, O],
  // out_scale [N]
  static constexpr Slot kInputs[] = {{kInt64},           {kInt32},           {kFloat},
                                     {kFloat, kOptional}, {kFloat, kOptional}, {kFloat, kOptional},
                                     {kFloat, kOptional}, {kFloat, kOptional}, {kFloat, kOptional},
                                     {kFloat, kOptional}, {kFloat, kOptional}, {kFloat, kOptional},
                                     {kFloat, kOptional}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, O], or [N, F] without a weight

  explicit SpmmUpdate(const Attributes& attributes);
  ~SpmmUpdate();
  SpmmUpdate(SpmmUpdate&&) noexcept;
  void compute(const Context& context) const;

 private:
  bool mean_;
  Activation activation_, out_activation_;
  bool transposed_, root_transposed_;  // whether the weights are [O, F] and [O, K]
  float alpha_, identity_;             // rows are multiplied with alpha · weight + identity · I
  std::unique_ptr<KeptProduct> linear_, root_;
};

struct Extremum {
  static constexpr const char* kName = "extremum";
  // rowptr [N + 1], col [E], x [M, F], weight [E]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, F]

  explicit Extremum(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  bool largest_;
};

struct SpmmHeads {
  static constexpr const char* kName = "spmm_heads";
  // rowptr [N + 1], col [E], x [M, H·C], weight [E, H]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat}, {kFloat}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, H·C]

  explicit SpmmHeads(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  bool mean_;
};

struct SpmmInt8 {
  static constexpr const char* kName = "spmm_int8";
  // rowptr [N + 1], col [E], x [M, F], scale [F]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kInt8}, {kFloat}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, F]

  explicit SpmmInt8(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  bool mean_;
};

struct SpmmInt8Rows {
  static constexpr const char* kName = "spmm_int8_rows";
  // rowptr [N + 1], col [E], x [M, F], src_scale [M], weight [E], dst_scale [N], self_weight [N],
  // bias [F]
  static constexpr Slot kInputs[] = {{kInt64},           {kInt32},           {kInt8},
                                     {kFloat},           {kFloat, kOptional}, {kFloat, kOptional},
                                     {kFloat, kOptional}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, F]

  explicit SpmmInt8Rows(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  bool mean_;
};

struct QuantizeRows {
  static constexpr const char* kName = "quantize_rows";
  static constexpr Slot kInputs[] = {{kFloat}};           // x [N, F]
  static constexpr Slot kOutputs[] = {{kInt8}, {kFloat}};  // q [N, F], scale [N]

  explicit QuantizeRows(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  bool relu_;
};

struct LinearInt8 {
  static constexpr const char* kName = "linear_int8";
  // x [N, K], scale [N], weight [O, K], weight_scale [O], bias [O], residual [N, O]
  static constexpr Slot kInputs[] = {{kInt8},  {kFloat},           {kInt8},
                                     {kFloat}, {kFloat, kOptional}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, O]

  explicit LinearInt8(const Attributes&);
  ~LinearInt8();
  LinearInt8(LinearInt8&&) noexcept;
  void compute(const Context& context) const;

 private:
  struct Prepared;  // the weight as the product reads it, kept between calls
  std::unique_ptr<Prepared> prepared_;
};

struct EdgeRows {
  static constexpr const char* kName = "edge_rows";
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}};  // rowptr [N + 1], col [E]
  static constexpr Slot kOutputs[] = {{kInt64}};           // row [E]

  explicit EdgeRows(const Attributes&) {}
  void compute(const Context& context) const;
};

struct EdgeSoftmax {
  static constexpr const char* kName = "edge_softmax";
  // rowptr [N + 1], score [E, H], own [N, H]
  static constexpr Slot kInputs[] = {{kInt64}, {kFloat}, {kFloat, kOptional}};
  // out [E, H], own_out [N, H]
  static constexpr Slot kOutputs[] = {{kFloat}, {kFloat, kOptional}};

  explicit EdgeSoftmax(const Attributes&) {}
  void compute(const Context& context) const;
};

struct Sddmm {
  static constexpr const char* kName = "sddmm";
  // rowptr [N + 1], col [E], a [N, H·C], b [M, H·C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat}, {kFloat}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [E, H]

  explicit Sddmm(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  int64_t heads_;
};

struct RelationalCsr {
  static constexpr const char* kName = "relational_csr";
  // rowptr [N + 1], col [E], relation [E]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kInt64}};
  // pair_rowptr [P + 1], pair_col [E], target_rowptr [N + 1], target_col [P], sizes [R], pair [E]
  static constexpr Slot kOutputs[] = {{kInt64}, {kInt32}, {kInt64},
                                      {kInt32}, {kInt64}, {kInt64, kOptional}};

  explicit RelationalCsr(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  int64_t relations_;
};

}  // namespace graphstill
