// What gat, gatv2 and dot_attention share on a CUDA device: a program for each row and head, and
// running softmaxes of hubs' parts.

#pragma once

#include "launch.h"

namespace graphstill::cuda {

// Where a kernel takes what all of them take.
struct AttentionPlaces {
  size_t rowptr, col, out, lse, sums, stats, num_rows, num_edges;
};

inline void require_table(const Tensor<const float>& table, int64_t rows, int64_t width,
                          const char* name) {
  require(table.shape == std::vector<int64_t>({rows, width}),
          std::string(name) + " must have the shape [" + std::to_string(rows) + ", " +
              std::to_string(width) + "]");
}

// The channels of a head, of features [M, H · C].
inline int64_t channels_of(const Tensor<const float>& x, int64_t heads, const char* name) {
  require(x.shape.size() == 2, std::string(name) + " must have two dimensions");
  require(heads > 0 && x.shape[1] % heads == 0,
          std::string(name) + " must be as wide as heads times channels");
  return x.shape[1] / heads;
}

inline void require_ends(const DeviceRows& rows, const Tensor<const float>& x,
                         const Tensor<const float>& bias, bool self_loops) {
  require(!bias || bias.size() == x.shape[1], "bias needs one value per column of the features");
  require(!self_loops || rows.count() <= x.shape[0], "self loops need features of each node");
}

// Computes all rows into the output; other arguments are in place.
template <size_t Count, size_t Variants>
void attend(const Context& context, const DeviceRows& rows, const Variant (&variants)[Variants],
            const Key& key, Arguments<Count>& arguments, const AttentionPlaces& places,
            int64_t num_parts) {
  const int64_t heads = key[0], width = key[0] * key[1];
  float* out = context.output<float>(0, {rows.count(), width});
  if (rows.count() == 0 || width == 0) return;
  const Variant& variant = find(variants, key);
  const Stream stream = context.gpu_stream();
  const Room lse(sizeof(float) * rows.count() * heads, stream);  // for a backward pass: unread
  const Room sums(sizeof(float) * num_parts * width, stream);
  const Room stats(sizeof(float) * num_parts * heads * 2, stream);
  arguments[places.rowptr] = address(rows.rowptr);
  arguments[places.col] = address(rows.col);
  arguments[places.out] = reinterpret_cast<uint64_t>(out);
  arguments[places.lse] = lse.address();
  arguments[places.sums] = sums.address();
  arguments[places.stats] = stats.address();
  arguments[places.num_rows] = (uint64_t)rows.count();
  arguments[places.num_edges] = (uint64_t)rows.edges();
  arguments.launch(variant, num_parts, rows.count(), heads, stream);
}

}  // namespace graphstill::cuda
