// Geometries, layouts and the plain loop that the tests of conv_transpose2d share.
#pragma once

#include <cmath>
#include <vector>

#include "conv_transpose2d/conv_transpose2d_cpu.h"

namespace gankit::conv_transpose2d {

// samples, channels, in (h, w), out (h, w), kernel, stride, padding
inline const Geometry kCases[] = {
    {3, 1, 14, 14, 28, 28, 4, 4, 2, 2, 1, 1},    // a generator's last layer
    {2, 3, 5, 7, 9, 16, 3, 4, 2, 2, 1, 0},       // uneven
    {1, 2, 4, 3, 10, 8, 2, 2, 3, 3, 0, 0},       // gaps between patches, output padding
    {2, 2, 3, 4, 1, 2, 3, 3, 1, 1, 2, 2},        // most taps are cut off
    {2, 1, 3, 3, 11, 14, 5, 2, 3, 6, 0, 0},      // columns that nothing reaches
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},        // one element
    {1, 2, 70, 90, 141, 180, 4, 4, 2, 2, 1, 1},  // several blocks of rows
    {2, 1, 3, 5000, 3, 5000, 1, 3, 1, 1, 0, 1},  // a row longer than a block
};

inline Strides planes(int64_t c, int64_t h, int64_t w) {
  return {c * h * w, h * w, w, 1};
}
inline Strides pixels(int64_t c, int64_t h, int64_t w) {
  return {c * h * w, 1, w * c, c};
}

template <class T>
std::vector<typename T::bits> random_bits(int64_t n, uint32_t state) {
  std::vector<typename T::bits> x(static_cast<size_t>(n));
  for (auto& v : x) {
    state = state * 1664525u + 1013904223u;
    v = T::store(static_cast<typename T::compute>(static_cast<int32_t>(state) / 1e9));
  }
  return x;
}

// Calls f(oy, ox, k, iy, ix) for every column of a channel that lands inside.
template <class F>
void for_each_tap(const Geometry& g, int64_t c, const F& f) {
  for (int64_t iy = 0; iy < g.in_h; ++iy) {
    for (int64_t ix = 0; ix < g.in_w; ++ix) {
      for (int64_t ki = 0; ki < g.kernel_h; ++ki) {
        for (int64_t kj = 0; kj < g.kernel_w; ++kj) {
          const int64_t oy = iy * g.stride_h - g.pad_h + ki, ox = ix * g.stride_w - g.pad_w + kj;
          if (oy < 0 || oy >= g.out_h || ox < 0 || ox >= g.out_w) continue;
          f(oy, ox, (c * g.kernel_h + ki) * g.kernel_w + kj, iy, ix);
        }
      }
    }
  }
}

}  // namespace gankit::conv_transpose2d
