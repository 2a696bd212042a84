// Heads of several edges side by side in one vector, 16 / H edges of H heads: lanes that are a multiple
// of H apart belong to one head.

#pragma once

#include "simd.h"

namespace graphstill {

GRAPHSTILL_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

struct Folded {
  Ints apart[4];  // lanes moved by 8, 4, 2, 1
  explicit Folded() {
    for (int s = 0; s < 4; ++s)
      for (int lane = 0; lane < kLanes; ++lane) apart[s][lane] = lane ^ (8 >> s);
  }
  static bool suits(int64_t heads) { return heads <= kLanes && kLanes % heads == 0; }

  // The largest of each head's lanes, in all of them.
  GRAPHSTILL_INLINE Floats largest(Floats v, int64_t heads) const {
    for (int s = 0; (8 >> s) >= heads; ++s) v = larger(pick(v, apart[s]), v);
    return v;
  }

  // The sum of each head's lanes, in all of them.
  GRAPHSTILL_INLINE Floats total(Floats v, int64_t heads) const {
    for (int s = 0; (8 >> s) >= heads; ++s) v += pick(v, apart[s]);
    return v;
  }
};

}  // namespace graphstill
