// The operators of the `graphstill` domain, version 1. Their definitions, in plain torch, are in
// kernels/reference.py; names, inputs and meaning are the same there.

#pragma once

#include "ort.h"

namespace graphstill {

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

struct Gat {
  static constexpr const char* kName = "gat";
  // rowptr [N + 1], col [E], x [M, H·C], alpha_src [M, H], alpha_dst [N, H], bias [H·C]
  static constexpr Slot kInputs[] = {{kInt64}, {kInt32}, {kFloat},
                                     {kFloat}, {kFloat}, {kFloat, kOptional}};
  static constexpr Slot kOutputs[] = {{kFloat}};  // out [N, H·C]

  explicit Gat(const Attributes& attributes);
  void compute(const Context& context) const;

 private:
  float negative_slope_;
  bool self_loops_;
};

}  // namespace graphstill
