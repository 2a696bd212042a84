// What attention scores an edge by, and what the score's gradient does to its inputs.
//
// i is the destination of an edge and j its source; a score is one number per head. Fixed is the
// number of channels of a head where it is known when compiling, or 0.

#pragma once

#include "channels.h"

namespace graphstill::attention {

template <class Vector>
GRAPHSTILL_INLINE Vector leaky(Vector z, float slope) {
  return select(z < 0.0f, z * slope, z);
}

template <class Vector>
GRAPHSTILL_INLINE Vector leaky_slope(Vector z, float slope) {
  return select(z > 0.0f, Vector{} + 1.0f, Vector{} + slope);
}

// GAT: LeakyReLU(alpha_src[j] + alpha_dst[i])
struct Additive {
  const float* alpha_src;  // [M, H]
  const float* alpha_dst;  // [N, H]
  float slope;
  float* dsrc;  // [M, H]
  float* ddst;  // [N, H]
  int64_t heads;

  GRAPHSTILL_INLINE void prefetch_source(int64_t j) const {
    __builtin_prefetch(alpha_src + j * heads);
  }
  GRAPHSTILL_INLINE void prefetch_target(int64_t i) const {
    __builtin_prefetch(alpha_dst + i * heads);
  }
  GRAPHSTILL_INLINE void score(int64_t i, int64_t j, float* out) const {
    const float* source = alpha_src + j * heads;
    const float* target = alpha_dst + i * heads;
    for_vectors<0>(heads, [&](int64_t h, auto lanes) GRAPHSTILL_LAMBDA {
      using Vector = decltype(lanes);
      store(out + h, leaky(load_as<Vector>(source + h) + load_as<Vector>(target + h), slope));
    });
  }
  GRAPHSTILL_INLINE void clear_target(int64_t i) const { clear(ddst + i * heads); }
  GRAPHSTILL_INLINE void clear_source(int64_t j) const { clear(dsrc + j * heads); }
  GRAPHSTILL_INLINE void to_target(int64_t i, int64_t j, const float* dscore, float*) const {
    to(ddst + i * heads, i, j, dscore);
  }
  GRAPHSTILL_INLINE void to_source(int64_t i, int64_t j, const float* dscore) const {
    to(dsrc + j * heads, i, j, dscore);
  }

 private:
  GRAPHSTILL_INLINE void clear(float* out) const {
    for (int64_t h = 0; h < heads; ++h) out[h] = 0;
  }
  GRAPHSTILL_INLINE void to(float* out, int64_t i, int64_t j, const float* dscore) const {
    const float* source = alpha_src + j * heads;
    const float* target = alpha_dst + i * heads;
    for_vectors<0>(heads, [&](int64_t h, auto lanes) GRAPHSTILL_LAMBDA {
      using Vector = decltype(lanes);
      const Vector z = load_as<Vector>(source + h) + load_as<Vector>(target + h);
      store(out + h, load_as<Vector>(out + h) + load_as<Vector>(dscore + h) * leaky_slope(z, slope));
    });
  }
};

// GATv2: att · LeakyReLU(x_l[j] + x_r[i]). The sources' gradient joins that of the values, which
// are x_l too; the gradient of att is summed for each block of rows by itself.
template <int Fixed>
struct Dynamic {
  const float* x_l;  // [M, H · C]
  const float* x_r;  // [N, H · C]
  const float* att;  // [H · C]
  float slope;
  float* dx_l;  // [M, H · C]
  float* dx_r;  // [N, H · C]
  int64_t heads;
  int64_t channels;
  int64_t first_row = 0;  // the row that x_r begins with; forward alone

  GRAPHSTILL_INLINE int64_t width() const { return heads * (Fixed ? Fixed : channels); }
  GRAPHSTILL_INLINE void prefetch_source(int64_t) const {}  // the values are
  GRAPHSTILL_INLINE void prefetch_target(int64_t i) const {
    prefetch_row(x_r + i * width(), width());
  }
  GRAPHSTILL_INLINE void score(int64_t i, int64_t j, float* out) const {
    const int64_t count = Fixed ? Fixed : channels;
    for (int64_t h = 0; h < heads; ++h) {
      const float* l = x_l + j * width() + h * count;
      const float* r = x_r + (i - first_row) * width() + h * count;
      const float* a = att + h * count;
      out[h] = sum_vectors<Fixed>(channels, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        return load_as<Vector>(a + c) * leaky(load_as<Vector>(l + c) + load_as<Vector>(r + c), slope);
      });
    }
  }
  GRAPHSTILL_INLINE void clear_target(int64_t i) const {
    for (int64_t f = 0; f < width(); ++f) dx_r[i * width() + f] = 0;
  }
  GRAPHSTILL_INLINE void clear_source(int64_t) const {}  // the values' gradient was cleared
  GRAPHSTILL_INLINE void to_target(int64_t i, int64_t j, const float* dscore, float* datt) const {
    const int64_t count = Fixed ? Fixed : channels;
    for (int64_t h = 0; h < heads; ++h) {
      const float* l = x_l + j * width() + h * count;
      const float* r = x_r + i * width() + h * count;
      const float* a = att + h * count;
      float* dr = dx_r + i * width() + h * count;
      float* da = datt + h * count;
      for_vectors<Fixed>(channels, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        const Vector z = load_as<Vector>(l + c) + load_as<Vector>(r + c);
        const Vector ds = Vector{} + dscore[h];
        store(da + c, load_as<Vector>(da + c) + ds * leaky(z, slope));
        store(dr + c, load_as<Vector>(dr + c) + ds * load_as<Vector>(a + c) * leaky_slope(z, slope));
      });
    }
  }
  GRAPHSTILL_INLINE void to_source(int64_t i, int64_t j, const float* dscore) const {
    const int64_t count = Fixed ? Fixed : channels;
    for (int64_t h = 0; h < heads; ++h) {
      const float* l = x_l + j * width() + h * count;
      const float* r = x_r + i * width() + h * count;
      const float* a = att + h * count;
      float* dl = dx_l + j * width() + h * count;
      for_vectors<Fixed>(channels, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        const Vector z = load_as<Vector>(l + c) + load_as<Vector>(r + c);
        const Vector ds = Vector{} + dscore[h];
        store(dl + c, load_as<Vector>(dl + c) + ds * load_as<Vector>(a + c) * leaky_slope(z, slope));
      });
    }
  }
};

// Transformer: query[i] · key[j] / √C
template <int Fixed>
struct Scaled {
  const float* query;  // [N, H · C]
  const float* key;    // [M, H · C]
  float factor;        // 1 / √C
  float* dquery;       // [N, H · C]
  float* dkey;         // [M, H · C]
  int64_t heads;
  int64_t channels;

  GRAPHSTILL_INLINE int64_t width() const { return heads * (Fixed ? Fixed : channels); }
  GRAPHSTILL_INLINE void prefetch_source(int64_t j) const {
    prefetch_row(key + j * width(), width());
  }
  GRAPHSTILL_INLINE void prefetch_target(int64_t i) const {
    prefetch_row(query + i * width(), width());
  }
  GRAPHSTILL_INLINE void score(int64_t i, int64_t j, float* out) const {
    const int64_t count = Fixed ? Fixed : channels;
    for (int64_t h = 0; h < heads; ++h)
      out[h] = factor * dot<Fixed>(query + i * width() + h * count,
                                   key + j * width() + h * count, channels);
  }
  GRAPHSTILL_INLINE void clear_target(int64_t i) const { clear(dquery + i * width()); }
  GRAPHSTILL_INLINE void clear_source(int64_t j) const { clear(dkey + j * width()); }
  GRAPHSTILL_INLINE void to_target(int64_t i, int64_t j, const float* dscore, float*) const {
    to(dquery + i * width(), key + j * width(), dscore);
  }
  GRAPHSTILL_INLINE void to_source(int64_t i, int64_t j, const float* dscore) const {
    to(dkey + j * width(), query + i * width(), dscore);
  }

 private:
  GRAPHSTILL_INLINE void clear(float* out) const {
    for (int64_t f = 0; f < width(); ++f) out[f] = 0;
  }
  GRAPHSTILL_INLINE void to(float* out, const float* other, const float* dscore) const {
    const int64_t count = Fixed ? Fixed : channels;
    for (int64_t h = 0; h < heads; ++h)
      add<Fixed>(out + h * count, factor * dscore[h], other + h * count, channels);
  }
};

}  // namespace graphstill::attention
