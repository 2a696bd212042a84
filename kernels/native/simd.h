// Sixteen floats at a time, on whatever the machine has.
//
// GCC and Clang lower the vector type to AVX-512, AVX2, SSE or NEON, whichever a library is built
// for. It is built once per level of x86-64, and whoever loads it picks (level.h). Clones of single
// functions would not do: GCC lowers vectors before it inlines, to what the whole file is built for.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define GRAPHSTILL_INLINE inline __attribute__((always_inline))

namespace graphstill {

// Vectors are loaded from and stored to plain arrays and never cross a function that is not inlined.
constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats4 __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef int8_t Bytes __attribute__((vector_size(kLanes)));

template <class Vector>
GRAPHSTILL_INLINE Vector load_as(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

GRAPHSTILL_INLINE Floats load(const float* from) { return load_as<Floats>(from); }

GRAPHSTILL_INLINE Ints load(const int32_t* from) {
  Ints value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// Sixteen small integers, widened. GCC 12 makes two dozen instructions of the general form.
GRAPHSTILL_INLINE Ints widened(const int8_t* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from));
#elif defined(__AVX2__)
  const __m256i half[2] = {_mm256_cvtepi8_epi32(_mm_loadu_si64(from)),
                           _mm256_cvtepi8_epi32(_mm_loadu_si64(from + 8))};
  Ints value;
  std::memcpy(&value, half, sizeof(value));
  return value;
#else
  Bytes value;
  std::memcpy(&value, from, sizeof(value));
  return __builtin_convertvector(value, Ints);
#endif
}

GRAPHSTILL_INLINE Floats load(const int8_t* from) {
  return __builtin_convertvector(widened(from), Floats);
}

template <class Vector>
GRAPHSTILL_INLINE Vector load_as(const int8_t* from) {
  static_assert(sizeof(Vector) == sizeof(Floats));
  return load(from);
}

template <class Vector>
GRAPHSTILL_INLINE void store(float* to, Vector value) {
  std::memcpy(to, &value, sizeof(value));
}

GRAPHSTILL_INLINE void store(int8_t* to, Bytes value) { std::memcpy(to, &value, sizeof(value)); }

// The first `count` numbers as a whole vector, whose other lanes may hold anything that comes next.
template <class Vector, class Element>
GRAPHSTILL_INLINE Vector load_some(const Element* from, int count, const Element* end) {
  constexpr int kWhole = sizeof(Vector) / sizeof(float);
  if (end - from >= kWhole) return load_as<Vector>(from);
  Element lanes[kWhole] = {};
  std::memcpy(lanes, from, count * sizeof(Element));
  return load_as<Vector>(lanes);
}

template <class Vector>
GRAPHSTILL_INLINE void store_some(float* to, Vector value, int count) {
  float lanes[sizeof(Vector) / sizeof(float)];
  store(lanes, value);
  for (int lane = 0; lane < count; ++lane) to[lane] = lanes[lane];
}

// The sum of all lanes, halves added to halves.
GRAPHSTILL_INLINE float sum(float value) { return value; }
GRAPHSTILL_INLINE float sum(Floats4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
GRAPHSTILL_INLINE float sum(Floats8 value) {
  Floats4 half[2];
  std::memcpy(half, &value, sizeof(value));
  return sum(half[0] + half[1]);
}
GRAPHSTILL_INLINE float sum(Floats value) {
  Floats8 half[2];
  std::memcpy(half, &value, sizeof(value));
  return sum(half[0] + half[1]);
}

// The lanes of `from` that `index` names.
GRAPHSTILL_INLINE Floats pick(Floats from, Ints index) {
#if defined(__clang__)
  Floats picked;
  for (int lane = 0; lane < kLanes; ++lane) picked[lane] = from[index[lane]];
  return picked;
#else
  return __builtin_shuffle(from, index);
#endif
}

// x <= 0, taken as -87 where it is less, as n ln 2 + r: returns e^r - 1, by a polynomial in r, and
// n where a float has its exponent, to be added to its bits.
GRAPHSTILL_INLINE Floats exp_parts(Floats x, Ints& exponent) {
  x = x < -87.0f ? Floats{} - 87.0f : x;
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
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent - 0x4B400000) << 23;  // the integer sits in the low bits of the sum
  return p * r * r + r;
}

// value · 2^n, where value is about 1
GRAPHSTILL_INLINE Floats times_power(Floats value, Ints exponent) {
  Ints bits;
  std::memcpy(&bits, &value, sizeof(bits));
  bits = bits + exponent;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// exp(x) for x <= 0 and NaN, to about 2 units in the last place.
GRAPHSTILL_INLINE Floats exp_nonpositive(Floats x) {
  Ints exponent;
  const Floats tail = exp_parts(x, exponent);
  return x == x ? times_power(tail + 1.0f, exponent) : x;
}

// exp(x) - 1 for x <= 0, exact near 0 too.
GRAPHSTILL_INLINE Floats expm1_nonpositive(Floats x) {
  Ints exponent;
  const Floats tail = exp_parts(x, exponent);
  const Floats power = times_power(Floats{} + 1.0f, exponent);
  return power * tail + (power - 1.0f);
}

}  // namespace graphstill
