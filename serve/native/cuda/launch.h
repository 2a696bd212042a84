// A launch of a kernel: the parts of hubs first, then the rows, as kernels/gpu/hubs.py has it.

#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "../kernels.h"
#include "driver.h"

namespace graphstill::cuda {

using Key = std::array<int64_t, 4>;  // what a kernel is compiled for: see kernels/gpu/ahead.py

// A kernel for rows and the same for the parts of hubs, and how many features a program holds.
struct Variant {
  Key key;
  int64_t block;
  Cubin rows, hubs;
};

template <size_t Count>
const Variant& find(const Variant (&variants)[Count], const Key& key) {
  for (const Variant& variant : variants)
    if (variant.key == key) return variant;
  std::string wanted;
  for (const int64_t part : key) wanted += " " + std::to_string(part);
  throw std::invalid_argument("this library holds no kernel for" + wanted +
                              "; build it for this bundle: graphstill.export.formats.cuda");
}

// The address of a tensor's elements; what is empty may have none on the device.
template <class T>
uint64_t address(const Tensor<const T>& tensor) {
  const uint64_t found = tensor.size() > 0 ? reinterpret_cast<uint64_t>(tensor.data) : 0;
  require(found % 16 == 0, "tensors must begin at a multiple of 16 bytes");
  return found;
}

inline int64_t pieces(int64_t whole, int64_t size) { return (whole + size - 1) / size; }

// Parts that hubs may have: two for each tile of edges.
inline int64_t parts(int64_t num_edges, int64_t chunk) {
  return num_edges > chunk ? 2 * pieces(num_edges, chunk) : 0;
}

// The arguments of a kernel, each in eight bytes, in its order, and those hidden behind them.
template <size_t Count>
class Arguments {
 public:
  uint64_t& operator[](size_t argument) { return words_[argument]; }
  void set(size_t argument, float value) { std::memcpy(&words_[argument], &value, sizeof value); }

  // Runs a kernel over parts, if there are any, and over rows.
  void launch(const Variant& variant, int64_t num_parts, int64_t num_rows, int64_t columns,
              Stream stream) {
    if (num_parts > 0) launch(variant.hubs, num_parts, columns, stream);
    launch(variant.rows, num_rows, columns, stream);
  }

 private:
  void launch(const Cubin& cubin, int64_t items, int64_t columns, Stream stream) {
    void* parameters[Count];
    std::transform(words_, words_ + Count, parameters, [](uint64_t& word) { return &word; });
    const Driver& driver = Driver::get();
    driver.check(driver.launch(function_of(cubin), (unsigned)items, (unsigned)columns, 1,
                               32 * cubin.num_warps, 1, 1, cubin.shared_bytes, stream, parameters,
                               nullptr),
                 "cuLaunchKernel");
  }

  uint64_t words_[Count] = {};
};

// Rows and edges of a graph on the device: of its arrays only sizes are known here.
struct DeviceRows {
  Tensor<const int64_t> rowptr;
  Tensor<const int32_t> col;

  explicit DeviceRows(const Context& context)
      : rowptr(context.input<int64_t>(0)), col(context.input<int32_t>(1)) {
    require(rowptr.size() >= 1, "rowptr needs num_nodes + 1 entries, it has none");
  }
  int64_t count() const { return rowptr.size() - 1; }
  int64_t edges() const { return col.size(); }
};

}  // namespace graphstill::cuda
