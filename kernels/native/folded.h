// Heads of several edges side by side in one vector, 16 / H edges of H heads: lanes that are a multiple
// of H apart belong to one head.

#pragma once

#include "simd.h"

namespace graphstill {

GRAPHSTILL_INLINE Floats larger(const Floats& a, const Floats& b) { return select(a > b, a, b); }

namespace folded {

inline bool suits(int64_t heads) { return heads <= kLanes && kLanes % heads == 0; }

// What all lanes of a head give together, in each of them.
template <class Join>
GRAPHSTILL_INLINE Floats joined(Floats v, int64_t heads, const Join& join) {
  if (heads <= 8) v = join(moved<8>(v), v);
  if (heads <= 4) v = join(moved<4>(v), v);
  if (heads <= 2) v = join(moved<2>(v), v);
  if (heads <= 1) v = join(moved<1>(v), v);
  return v;
}

GRAPHSTILL_INLINE Floats largest(const Floats& v, int64_t heads) {
  return joined(v, heads, [](const Floats& a, const Floats& b) GRAPHSTILL_LAMBDA { return larger(a, b); });
}

GRAPHSTILL_INLINE Floats total(const Floats& v, int64_t heads) {
  return joined(v, heads, [](const Floats& a, const Floats& b) GRAPHSTILL_LAMBDA { return a + b; });
}

}  // namespace folded
}  // namespace graphstill
