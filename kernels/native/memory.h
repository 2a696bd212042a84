// Large pages for large results: a fresh result of 100 MB is 25,000 page faults of 4 KB, which cost
// more than summing it.

#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <new>

namespace graphstill {

// Asks for large pages where nothing was written yet; a system that has none ignores it.
inline void expect_large(void* memory, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096, kLargeFrom = 4 << 20;
  if (bytes < (int64_t)kLargeFrom) return;
  const uintptr_t begin = ((uintptr_t)memory + kPage - 1) / kPage * kPage;
  const uintptr_t end = ((uintptr_t)memory + bytes) / kPage * kPage;
  madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

inline void expect_large(float* values, int64_t rows, int64_t width) {
  expect_large(values, rows * width * (int64_t)sizeof(float));
}

// Room for rows that others gather: they begin where cache lines do, or would lie in one more each.
struct FreeAligned {
  void operator()(float* values) const { ::operator delete[](values, std::align_val_t{64}); }
};
using AlignedFloats = std::unique_ptr<float[], FreeAligned>;

inline AlignedFloats aligned_floats(int64_t rows, int64_t width) {
  const size_t bytes = (size_t)(rows * width) * sizeof(float);
  AlignedFloats values(static_cast<float*>(::operator new[](bytes, std::align_val_t{64})));
  expect_large(values.get(), rows, width);
  return values;
}

}  // namespace graphstill
