// How one machine multiplies integers: `kGroup` numbers of a row at a time with those of `kLanes` outputs.
//
// A group of a row is 32 bits, which all lanes of a vector read. Every form gives the same integers.

#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace graphstill::linear_int8 {
namespace {

#if defined(__AVX512BW__)
// 4 numbers of 8 bits, on processors that have it (VNNI). Those of the weight must be without sign, so
// they are moved up by 128. Written as text: the build is for any AVX-512, which need not have this.
struct Dot4 {
  static constexpr int kGroup = 4, kLanes = 16, kVectors = 4, kOffset = 128;
  using Number = uint8_t;
  using Vector = __m512i;
  static bool usable() { return __builtin_cpu_supports("avx512vnni"); }
  static GRAPHSTILL_INLINE Vector load(const void* from) { return _mm512_loadu_si512(from); }
  static GRAPHSTILL_INLINE Vector dot(Vector total, Vector weight, const int32_t* group) {
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(total) : "v"(weight), "m"(*group));
    return total;
  }
  // What the offset adds to every output: 128 times the sum of a row.
  static int32_t moved(const int32_t* groups, int64_t count) {
    const Vector offsets = _mm512_set1_epi8((char)kOffset);
    Vector total = _mm512_setzero_si512();
    for (int64_t g = 0; g < count; g += 16) {
      const Vector x = load(groups + g);
      asm("vpdpbusd %2, %1, %0" : "+v"(total) : "v"(offsets), "v"(x));
    }
    return _mm512_reduce_add_epi32(total);
  }
};

// 2 numbers of 16 bits, on any other.
struct Dot2 {
  static constexpr int kGroup = 2, kLanes = 16, kVectors = 4, kOffset = 0;
  using Number = int16_t;
  static int32_t moved(const int32_t*, int64_t) { return 0; }
  using Vector = __m512i;
  static GRAPHSTILL_INLINE Vector load(const void* from) { return _mm512_loadu_si512(from); }
  static GRAPHSTILL_INLINE Vector dot(Vector total, Vector weight, const int32_t* group) {
    return _mm512_add_epi32(total, _mm512_madd_epi16(weight, _mm512_set1_epi32(*group)));
  }
};
#elif defined(__AVX2__)
struct Dot2 {
  static constexpr int kGroup = 2, kLanes = 8, kVectors = 2, kOffset = 0;
  using Number = int16_t;
  static int32_t moved(const int32_t*, int64_t) { return 0; }
  using Vector = __m256i;
  static GRAPHSTILL_INLINE Vector load(const void* from) {
    return _mm256_loadu_si256((const __m256i*)from);
  }
  static GRAPHSTILL_INLINE Vector dot(Vector total, Vector weight, const int32_t* group) {
    return _mm256_add_epi32(total, _mm256_madd_epi16(weight, _mm256_set1_epi32(*group)));
  }
};
#elif defined(__SSE2__)
struct Dot2 {
  static constexpr int kGroup = 2, kLanes = 4, kVectors = 2, kOffset = 0;
  using Number = int16_t;
  static int32_t moved(const int32_t*, int64_t) { return 0; }
  using Vector = __m128i;
  static GRAPHSTILL_INLINE Vector load(const void* from) {
    return _mm_loadu_si128((const __m128i*)from);
  }
  static GRAPHSTILL_INLINE Vector dot(Vector total, Vector weight, const int32_t* group) {
    return _mm_add_epi32(total, _mm_madd_epi16(weight, _mm_set1_epi32(*group)));
  }
};
#else
struct Dot2 {
  static constexpr int kGroup = 2, kLanes = 4, kVectors = 2, kOffset = 0;
  using Number = int16_t;
  static int32_t moved(const int32_t*, int64_t) { return 0; }
  typedef int32_t Vector __attribute__((vector_size(16), may_alias));
  static GRAPHSTILL_INLINE Vector load(const void* from) {
    Vector value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  static GRAPHSTILL_INLINE Vector dot(Vector total, Vector weight, const int32_t* group) {
    int16_t pair[2], pairs[2 * kLanes];
    std::memcpy(pair, group, sizeof(pair));
    std::memcpy(pairs, &weight, sizeof(pairs));
    for (int lane = 0; lane < kLanes; ++lane)
      total[lane] += pair[0] * pairs[2 * lane] + pair[1] * pairs[2 * lane + 1];
    return total;
  }
};
#endif

}  // namespace
}  // namespace graphstill::linear_int8
