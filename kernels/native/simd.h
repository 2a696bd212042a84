// Sixteen floats at a time, on whatever the machine has.
//
// A vector is one of AVX-512, or a pair of AVX2's, or of SSE's and NEON's in two steps (pair.h). A
// library is built once per level of x86-64, and whoever loads it picks (level.h). Clones of single
// functions would not do: GCC lowers vectors before it inlines, to what the whole file is built for.

#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "pair.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace graphstill {

// Vectors are loaded from and stored to plain arrays and never cross a function that is not inlined.
constexpr int kLanes = 16;
typedef float Floats4 __attribute__((vector_size(16)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
#if defined(__AVX2__)
typedef float Floats8 __attribute__((vector_size(32)));
typedef int32_t Ints8 __attribute__((vector_size(32)));
#else
using Floats8 = Pair<Floats4>;
using Ints8 = Pair<Ints4>;
#endif
#if defined(__AVX512F__)
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
#else
using Floats = Pair<Floats8>;
using Ints = Pair<Ints8>;
#endif

// How many vectors' sums registers hold.
#if defined(__AVX2__) || defined(__aarch64__)
constexpr int kMostSums = 8;
#else
constexpr int kMostSums = 4;
#endif

template <class Vector>
constexpr int kLanesOf = sizeof(Vector) / sizeof(float);

template <class Vector>
GRAPHSTILL_INLINE Vector load_as(const float* from) {
  if constexpr (kIsPair<Vector>) {
    using Half = typename Vector::half;
    return {load_as<Half>(from), load_as<Half>(from + kLanesOf<Half>)};
  } else {
    Vector value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
}

GRAPHSTILL_INLINE Floats load(const float* from) { return load_as<Floats>(from); }

template <class Vector>
GRAPHSTILL_INLINE void store(float* to, const Vector& value) {
  if constexpr (kIsPair<Vector>) {
    store(to, value.low);
    store(to + kLanesOf<Vector> / 2, value.high);
  } else {
    std::memcpy(to, &value, sizeof(value));
  }
}

// The bits of floats as integers, and back.
template <class To, class From>
GRAPHSTILL_INLINE To bits_as(const From& value) {
  if constexpr (kIsPair<From>)
    return {bits_as<typename To::half>(value.low), bits_as<typename To::half>(value.high)};
  else
    return (To)value;
}

// Small integers, widened. GCC 12 makes two dozen instructions of the general form.
template <class Vector>
GRAPHSTILL_INLINE Vector load_as(const int8_t* from) {
  if constexpr (kIsPair<Vector>) {
    using Half = typename Vector::half;
    return {load_as<Half>(from), load_as<Half>(from + kLanesOf<Half>)};
  } else {
#if defined(__AVX512F__)
    static_assert(kLanesOf<Vector> == 16);
    const Ints wide = (Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from));
#elif defined(__AVX2__)
    static_assert(kLanesOf<Vector> == 8);
    const Ints8 wide = (Ints8)_mm256_cvtepi8_epi32(_mm_loadu_si64(from));
#else
    static_assert(kLanesOf<Vector> == 4);
    const Ints4 wide = {from[0], from[1], from[2], from[3]};
#endif
    return __builtin_convertvector(wide, Vector);
  }
}

GRAPHSTILL_INLINE Floats load(const int8_t* from) { return load_as<Floats>(from); }

// Stores integers that fit into 8 bits.
template <class Vector>
GRAPHSTILL_INLINE void store_narrow(int8_t* to, const Vector& value) {
  if constexpr (kIsPair<Vector>) {
    store_narrow(to, value.low);
    store_narrow(to + kLanesOf<Vector> / 2, value.high);
  } else {
    typedef int8_t Bytes __attribute__((vector_size(kLanesOf<Vector>)));
    const Bytes bytes = __builtin_convertvector(value, Bytes);
    std::memcpy(to, &bytes, sizeof(bytes));
  }
}

// The first `count` numbers as a whole vector, whose other lanes may hold anything that comes next.
template <class Vector, class Element>
GRAPHSTILL_INLINE Vector load_some(const Element* from, int count, const Element* end) {
  constexpr int kWhole = kLanesOf<Vector>;
  if (end - from >= kWhole) return load_as<Vector>(from);
  Element lanes[kWhole] = {};
  std::memcpy(lanes, from, count * sizeof(Element));
  return load_as<Vector>(lanes);
}

template <class Vector>
GRAPHSTILL_INLINE void store_some(float* to, const Vector& value, int count) {
  float lanes[kLanesOf<Vector>];
  store(lanes, value);
  for (int lane = 0; lane < count; ++lane) to[lane] = lanes[lane];
}

// The sum of all lanes, halves added to halves.
GRAPHSTILL_INLINE float sum(float value) { return value; }
GRAPHSTILL_INLINE float sum(const Floats4& v) { return (v[0] + v[2]) + (v[1] + v[3]); }
template <class Half, class Vector>
GRAPHSTILL_INLINE Pair<Half> halves(const Vector& value) {
  static_assert(sizeof(Vector) == 2 * sizeof(Half));
  Pair<Half> half;
  std::memcpy(&half, &value, sizeof(value));
  return half;
}
#if defined(__AVX2__)
GRAPHSTILL_INLINE float sum(const Floats8& value) {
  const auto [low, high] = halves<Floats4>(value);
  return sum(low + high);
}
#endif
#if defined(__AVX512F__)
GRAPHSTILL_INLINE float sum(const Floats& value) {
  const auto [low, high] = halves<Floats8>(value);
  return sum(low + high);
}
#endif
template <class Half>
GRAPHSTILL_INLINE float sum(const Pair<Half>& value) {
  return sum(value.low + value.high);
}

template <int Distance, class Vector, size_t... Lanes>
GRAPHSTILL_INLINE Vector shuffled(const Vector& value, std::index_sequence<Lanes...>) {
#if defined(__clang__)
  return __builtin_shufflevector(value, value, (Lanes ^ Distance)...);
#else
  return __builtin_shuffle(value, decltype(value < value){(int)(Lanes ^ Distance)...});
#endif
}

// Lane i of the answer is lane i ^ Distance.
template <int Distance, class Vector>
GRAPHSTILL_INLINE Vector moved(const Vector& value) {
  if constexpr (!kIsPair<Vector>)
    return shuffled<Distance>(value, std::make_index_sequence<kLanesOf<Vector>>());
  else if constexpr (2 * Distance == kLanesOf<Vector>)
    return {value.high, value.low};
  else
    return {moved<Distance>(value.low), moved<Distance>(value.high)};
}

// x <= 0, taken as -87 where it is less, as n ln 2 + r: returns e^r - 1, by a polynomial in r, and
// n where a float has its exponent, to be added to its bits.
GRAPHSTILL_INLINE Floats exp_parts(Floats x, Ints& exponent) {
  x = select(x < -87.0f, Floats{} - 87.0f, x);
  const Floats magic = Floats{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  Floats shifted = x * 1.44269504f + magic;
  Floats n = shifted - magic;
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = Floats{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  exponent = (bits_as<Ints>(shifted) - 0x4B400000) << 23;  // the integer sits in the low bits of the sum
  return p * r * r + r;
}

// value · 2^n, where value is about 1
GRAPHSTILL_INLINE Floats times_power(Floats value, Ints exponent) {
  return bits_as<Floats>(bits_as<Ints>(value) + exponent);
}

// exp(x) for x <= 0 and NaN, to about 2 units in the last place.
GRAPHSTILL_INLINE Floats exp_nonpositive(Floats x) {
  Ints exponent;
  const Floats tail = exp_parts(x, exponent);
  return select(x == x, times_power(tail + 1.0f, exponent), x);
}

// exp(x) - 1 for x <= 0, exact near 0 too.
GRAPHSTILL_INLINE Floats expm1_nonpositive(Floats x) {
  Ints exponent;
  const Floats tail = exp_parts(x, exponent);
  const Floats power = times_power(Floats{} + 1.0f, exponent);
  return power * tail + (power - 1.0f);
}

}  // namespace graphstill
