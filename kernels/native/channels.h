// Loops over the channels of a row, of any number: whole vectors, then halves, quarters and singles.
//
// Fixed is the number where it is known when compiling, or 0.

#pragma once

#include <type_traits>

#include "simd.h"

namespace graphstill {

// Calls body with a number of channels as a type: itself where it is usual, 0 where it is not.
template <class Body>
void with_channels(int64_t channels, const Body& body) {
  if (channels == 8) body(std::integral_constant<int, 8>());
  else if (channels == 16) body(std::integral_constant<int, 16>());
  else if (channels == 32) body(std::integral_constant<int, 32>());
  else if (channels == 64) body(std::integral_constant<int, 64>());
  else body(std::integral_constant<int, 0>());
}

// Calls step(first channel, vector type's zero) until all channels have been seen.
template <int Fixed, class Step>
GRAPHSTILL_INLINE void for_vectors(int64_t channels, const Step& step) {
  const int64_t count = Fixed ? Fixed : channels;
  int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) step(c, Floats{});
  if (c + 8 <= count) {
    step(c, Floats8{});
    c += 8;
  }
  if (c + 4 <= count) {
    step(c, Floats4{});
    c += 4;
  }
  for (; c < count; ++c) step(c, 0.0f);
}

// The sum of term(first channel, vector type's zero) over all channels.
template <int Fixed, class Term>
GRAPHSTILL_INLINE float sum_vectors(int64_t channels, const Term& term) {
  const int64_t count = Fixed ? Fixed : channels;
  int64_t c = 0;
  float total = 0;
  if (count >= kLanes) {
    Floats lanes{};
    for (; c + kLanes <= count; c += kLanes) lanes += term(c, Floats{});
    total = sum(lanes);
  }
  if (c + 8 <= count) {
    total += sum(term(c, Floats8{}));
    c += 8;
  }
  if (c + 4 <= count) {
    total += sum(term(c, Floats4{}));
    c += 4;
  }
  for (; c < count; ++c) total += term(c, 0.0f);
  return total;
}

template <int Fixed>
GRAPHSTILL_INLINE float dot(const float* a, const float* b, int64_t channels) {
  return sum_vectors<Fixed>(channels, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
    using Vector = decltype(lanes);
    return load_as<Vector>(a + c) * load_as<Vector>(b + c);
  });
}

// out += factor · x
template <int Fixed>
GRAPHSTILL_INLINE void add(float* out, float factor, const float* x, int64_t channels) {
  for_vectors<Fixed>(channels, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
    using Vector = decltype(lanes);
    store(out + c, load_as<Vector>(out + c) + factor * load_as<Vector>(x + c));
  });
}

template <int Vectors>
GRAPHSTILL_INLINE void add_tile(float* out, const float* factors, int64_t stride, const float* x,
                                int64_t width, const int32_t* ids, int count) {
  Floats total[Vectors];
  for (int v = 0; v < Vectors; ++v) total[v] = load(out + v * kLanes);
  for (int k = 0; k < count; ++k) {
    const float* row = x + ids[k] * width;
    for (int v = 0; v < Vectors; ++v) total[v] += factors[k * stride] * load(row + v * kLanes);
  }
  for (int v = 0; v < Vectors; ++v) store(out + v * kLanes, total[v]);
}

// out += Σ_k factors[k · stride] · x[ids[k]], whose rows are width apart.
template <int Fixed>
GRAPHSTILL_INLINE void add_rows(float* out, const float* factors, int64_t stride, const float* x,
                                int64_t width, const int32_t* ids, int count, int64_t channels) {
  const int64_t all = Fixed ? Fixed : channels;
  int64_t c = 0;
  for (; c + 4 * kLanes <= all; c += 4 * kLanes)
    add_tile<4>(out + c, factors, stride, x + c, width, ids, count);
  for (; c + kLanes <= all; c += kLanes)
    add_tile<1>(out + c, factors, stride, x + c, width, ids, count);
  for_vectors<Fixed % kLanes>(all - c, [&](int64_t at, auto lanes) GRAPHSTILL_LAMBDA {
    using Vector = decltype(lanes);
    Vector total = load_as<Vector>(out + c + at);
    for (int k = 0; k < count; ++k)
      total += factors[k * stride] * load_as<Vector>(x + ids[k] * width + c + at);
    store(out + c + at, total);
  });
}

GRAPHSTILL_INLINE void scale(float* out, float factor, int64_t channels) {
  for_vectors<0>(channels, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
    store(out + c, load_as<decltype(lanes)>(out + c) * factor);
  });
}

GRAPHSTILL_INLINE void prefetch_row(const float* row, int64_t width) {
  for (int64_t f = 0; f < width; f += kLanes) __builtin_prefetch(row + f);
}

}  // namespace graphstill
