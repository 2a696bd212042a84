// What nodes that attend ask of their inputs.

#pragma once

#include <string>

#include "rows.h"

namespace graphstill {

inline void require_table(const Tensor<const float>& table, int64_t rows, int64_t width,
                   const std::string& name) {
  require(table.shape.size() == 2 && table.shape[0] == rows && table.shape[1] == width,
          name + " must have the shape [" + std::to_string(rows) + ", " + std::to_string(width) + "]");
}

// The channels of a head, of features [M, H · C].
inline int64_t channels_of(const Tensor<const float>& x, int64_t heads, const std::string& name) {
  require(x.shape.size() == 2, name + " must have two dimensions");
  require(heads > 0 && x.shape[1] % heads == 0, name + " must be as wide as heads times channels");
  return x.shape[1] / heads;
}

inline void require_bias(const Tensor<const float>& bias, int64_t width,
                         const std::string& name = "bias") {
  require(!bias || bias.size() == width, name + " needs one value per column");
}

inline void require_loops(const Rows& rows, const Tensor<const float>& x, bool self_loops) {
  require(!self_loops || rows.count <= x.shape[0], "self loops need features of each node");
}

}  // namespace graphstill
