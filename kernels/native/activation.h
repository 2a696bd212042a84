// What follows a layer, number by number.

#pragma once

#include <cstdint>

#include "simd.h"

namespace graphstill {

enum Activation : int64_t { kNone = 0, kRelu = 1, kElu = 2 };

GRAPHSTILL_INLINE Floats activated(Floats value, Activation activation) {
  const Floats below = activation == kElu ? expm1_nonpositive(value) : Floats{};
  return select(value < 0.0f, below, value);
}

inline void activate(float* values, int64_t count, Activation activation) {
  if (activation == kNone) return;
  int64_t f = 0;
  for (; f + kLanes <= count; f += kLanes)
    store(values + f, activated(load(values + f), activation));
  if (f < count) {
    const int left = (int)(count - f);
    const Floats value = load_some<Floats>(values + f, left, values + count);
    store_some(values + f, activated(value, activation), left);
  }
}

}  // namespace graphstill
