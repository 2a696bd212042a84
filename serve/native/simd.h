// Sixteen floats at a time, on whatever the machine has.
//
// GCC and Clang lower the vector type to AVX-512, AVX2, SSE or NEON. GRAPHSTILL_CLONES compiles a
// function once per x86 level and picks one when the library is loaded, so a build is fast on the
// machine it runs on and still runs on every other.

#pragma once

#include <cstdint>
#include <cstring>

// arch=<processor> would be matched by name, which leaves other makers' chips with the slowest
// clone; levels and features are matched by what the chip can do
#if defined(GRAPHSTILL_CLONES)
// chosen on the command line: one instruction set, to test it on a machine that has better
#elif !defined(__x86_64__) || !defined(__linux__) || !defined(__GNUC__)
#define GRAPHSTILL_CLONES
#elif defined(__clang__) || __GNUC__ >= 12
#define GRAPHSTILL_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GRAPHSTILL_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#define GRAPHSTILL_INLINE inline __attribute__((always_inline))

namespace graphstill {

// Vectors are loaded from and stored to plain arrays and never cross a function that is not inlined:
// their alignment and their calling convention differ between clones.
constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

GRAPHSTILL_INLINE Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

GRAPHSTILL_INLINE Ints load(const int32_t* from) {
  Ints value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

GRAPHSTILL_INLINE void store(float* to, Floats value) { std::memcpy(to, &value, sizeof(value)); }

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

// exp(x) for x <= 0, to about 2 units in the last place: x = n ln 2 + r, then a polynomial in r.
GRAPHSTILL_INLINE Floats exp_nonpositive(Floats x) {
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
  p = p * r * r + r + 1.0f;
  Ints exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent - 0x4B400000) << 23;  // the integer sits in the low bits of the sum
  Ints bits;
  std::memcpy(&bits, &p, sizeof(bits));
  bits = bits + exponent;
  std::memcpy(&p, &bits, sizeof(p));
  return p;
}

}  // namespace graphstill
