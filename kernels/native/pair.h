// A vector wider than the machine's registers, as its two halves.
//
// GCC takes wider ones too, and keeps them in memory: every addition then loads and stores, and sums
// took four times as long with AVX2. Halves are plain vectors, or pairs again.

#pragma once

#include <type_traits>

#define GRAPHSTILL_INLINE inline __attribute__((always_inline))
#define GRAPHSTILL_LAMBDA __attribute__((always_inline))

namespace graphstill {

template <class Half>
struct Pair {
  using half = Half;
  Half low, high;
};

template <class Vector>
constexpr bool kIsPair = false;
template <class Half>
constexpr bool kIsPair<Pair<Half>> = true;

template <class Low, class High>
GRAPHSTILL_INLINE Pair<Low> paired(Low low, High high) {
  static_assert(std::is_same_v<Low, High>);
  return {low, high};
}

template <class Scalar>
using ScalarOnly = std::enable_if_t<std::is_arithmetic_v<Scalar>, int>;

// With another pair, and with one number for all lanes on either side.
#define GRAPHSTILL_PAIRWISE(op)                                                      \
  template <class Half>                                                              \
  GRAPHSTILL_INLINE auto operator op(const Pair<Half>& a, const Pair<Half>& b) {     \
    return paired(a.low op b.low, a.high op b.high);                                 \
  }                                                                                  \
  template <class Half, class Scalar, ScalarOnly<Scalar> = 0>                        \
  GRAPHSTILL_INLINE auto operator op(const Pair<Half>& a, Scalar b) {                \
    return paired(a.low op b, a.high op b);                                          \
  }                                                                                  \
  template <class Half, class Scalar, ScalarOnly<Scalar> = 0>                        \
  GRAPHSTILL_INLINE auto operator op(Scalar a, const Pair<Half>& b) {                \
    return paired(a op b.low, a op b.high);                                          \
  }

GRAPHSTILL_PAIRWISE(+)
GRAPHSTILL_PAIRWISE(-)
GRAPHSTILL_PAIRWISE(*)
GRAPHSTILL_PAIRWISE(/)
GRAPHSTILL_PAIRWISE(<<)
GRAPHSTILL_PAIRWISE(<)
GRAPHSTILL_PAIRWISE(>)
GRAPHSTILL_PAIRWISE(==)
#undef GRAPHSTILL_PAIRWISE

template <class Half>
GRAPHSTILL_INLINE Pair<Half> operator-(const Pair<Half>& a) {
  return {-a.low, -a.high};
}

template <class Half, class Other>
GRAPHSTILL_INLINE Pair<Half>& operator+=(Pair<Half>& a, const Other& b) {
  return a = a + b;
}

template <class Half, class Other>
GRAPHSTILL_INLINE Pair<Half>& operator*=(Pair<Half>& a, const Other& b) {
  return a = a * b;
}

// In each lane a where the mask holds, else b; of numbers, vectors and pairs.
template <class Mask, class Value>
GRAPHSTILL_INLINE Value select(const Mask& mask, const Value& a, const Value& b) {
  if constexpr (kIsPair<Value>)
    return {select(mask.low, a.low, b.low), select(mask.high, a.high, b.high)};
  else
    return mask ? a : b;
}

}  // namespace graphstill
