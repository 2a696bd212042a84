// What follows a layer, number by number.

#pragma once

#include <cmath>
#include <cstdint>

namespace graphstill {

enum Activation : int64_t { kNone = 0, kRelu = 1, kElu = 2 };

inline void activate(float* values, int64_t count, Activation activation) {
  if (activation == kRelu)
    for (int64_t f = 0; f < count; ++f) values[f] = values[f] < 0 ? 0 : values[f];
  if (activation == kElu)
    for (int64_t f = 0; f < count; ++f) values[f] = values[f] < 0 ? std::expm1(values[f]) : values[f];
}

}  // namespace graphstill
