// out = factor[sample] * x on the CPU, for any dense layout. No torch header.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "parallel.h"
#include "samples.h"

namespace gankit {

constexpr int64_t kScaleGrain = 16384;  // elements per thread

template <class T>
GANKIT_SIMD void scale_shared(const typename T::bits* x, typename T::bits* out,
                              typename T::compute factor, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = T::store(T::load(x[i]) * factor);
}

template <class T>
GANKIT_SIMD void scale_each(const typename T::bits* x, typename T::bits* out,
                            const typename T::compute* factor, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = T::store(T::load(x[i]) * factor[i]);
}

// x and out lie alike: `samples` says how. `factors` holds one number per sample.
template <class T>
void scale_samples(const typename T::bits* x, typename T::bits* out, int64_t n,
                   const Samples& samples, const typename T::compute* factors) {
  parallel_for(0, n, kScaleGrain, [&](int64_t begin, int64_t end) {
    for_each_piece(samples, begin, end, [&](int64_t at, int64_t length, int64_t sample) {
      if (samples.stride == 1) {
        scale_each<T>(x + at, out + at, factors + sample, length);
      } else {
        scale_shared<T>(x + at, out + at, factors[sample], length);
      }
    });
  });
}

}  // namespace gankit
