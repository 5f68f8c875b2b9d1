// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
//
// Both work through a buffer of a few output rows whose pixels are sorted by phase: pixel ox lies
// at entry (ox + pad_w) / stride_w of phase (ox + pad_w) % stride_w. There each tap of the kernel
// is a shifted copy of its plane of columns, so all loops run over neighbours, and the columns are
// walked through in the order of memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/parallel.h"
#include "conv_transpose2d_math.h"

namespace gankit::conv_transpose2d {

constexpr int64_t kGrain = 16384;          // taps per thread at least: a few microseconds of work
constexpr int64_t kBufferElements = 4096;  // stays in the first-level cache

// The buffer for some output rows: per row stride_w phases of `length` entries each.
struct Buffer {
  int64_t length, row, rows, blocks;

  // `out_rows` of the image are worked on in blocks of at most `rows`, each with `halo` rows more.
  Buffer(const Geometry& g, int64_t out_rows, int64_t step, int64_t halo) {
    const int64_t taps = g.in_w + (g.kernel_w - 1) / g.stride_w;
    const int64_t pixels = (g.out_w - 1 + g.pad_w) / g.stride_w + 1;
    length = std::max(taps, pixels);
    row = length * g.stride_w;
    rows = std::clamp<int64_t>(kBufferElements / row / step, 1, out_rows);
    blocks = (out_rows + rows - 1) / rows;
    size = ((rows - 1) * step + 1 + halo) * row;
  }
  int64_t size;

  // Where tap kj meets the first pixel of an input row.
  int64_t tap(const Geometry& g, int64_t kj) const {
    return kj % g.stride_w * length + kj / g.stride_w;
  }
};

// The pixels of an output row that lie in one phase.
struct Phase {
  int64_t first, entry, count;

  Phase(const Geometry& g, int64_t phase, int64_t length) {
    first = (phase + g.stride_w - g.pad_w % g.stride_w) % g.stride_w;
    entry = phase * length + (first + g.pad_w) / g.stride_w;
    count = first < g.out_w ? (g.out_w - first + g.stride_w - 1) / g.stride_w : 0;
  }
};

template <class T>
GANKIT_SIMD void add_plane(typename T::compute* __restrict__ sums, int64_t sums_row,
                           const typename T::bits* __restrict__ source, int64_t source_row,
                           int64_t step, int64_t rows, int64_t count) {
  for (int64_t r = 0; r < rows; ++r, sums += sums_row, source += source_row) {
    if (step == 1) {
      for (int64_t i = 0; i < count; ++i) sums[i] += T::load(source[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) sums[i] += T::load(source[i * step]);
    }
  }
}

template <class T, Activation kind>
GANKIT_SIMD void activate_range(typename T::compute* sums, typename T::compute bias,
                                typename T::compute slope, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sums[i] = activate<kind>(sums[i] + bias, slope);
}

// One phase of every row to its pixels, which lie `step` apart.
template <class T>
GANKIT_SIMD void write_phase(const typename T::compute* __restrict__ sums, int64_t sums_row,
                             typename T::bits* __restrict__ y, int64_t y_row, int64_t step,
                             int64_t rows, int64_t count) {
  for (int64_t r = 0; r < rows; ++r, sums += sums_row, y += y_row) {
    for (int64_t i = 0; i < count; ++i) y[i * step] = T::store(sums[i]);
  }
}

// Two phases whose pixels take turns.
template <class T>
GANKIT_SIMD void write_pairs(const typename T::compute* __restrict__ even,
                             const typename T::compute* __restrict__ odd, int64_t sums_row,
                             typename T::bits* __restrict__ y, int64_t y_row, int64_t rows,
                             int64_t pairs) {
  for (int64_t r = 0; r < rows; ++r, even += sums_row, odd += sums_row, y += y_row) {
    for (int64_t i = 0; i < pairs; ++i) {
      y[2 * i] = T::store(even[i]);
      y[2 * i + 1] = T::store(odd[i]);
    }
  }
}

template <class T>
void write_rows(const typename T::compute* sums, const Buffer& buffer, typename T::bits* y,
                const Strides& y_at, int64_t rows, const Geometry& g) {
  if (g.stride_w == 2 && y_at.w == 1 && g.out_w % 2 == 0) {
    const Phase even(g, g.pad_w % 2, buffer.length), odd(g, 1 - g.pad_w % 2, buffer.length);
    return write_pairs<T>(sums + even.entry, sums + odd.entry, buffer.row, y, y_at.h, rows,
                          g.out_w / 2);
  }
  for (int64_t p = 0; p < g.stride_w; ++p) {
    const Phase phase(g, p, buffer.length);
    write_phase<T>(sums + phase.entry, buffer.row, y + phase.first * y_at.w, y_at.h,
                   y_at.w * g.stride_w, rows, phase.count);
  }
}

inline int64_t ceil_div(int64_t a, int64_t b) {  // b > 0
  return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

// y = activation(fold(columns) + bias). `bias` may be null. Any strides.
template <class T, Activation kind>
void fold_cpu(const typename T::bits* columns, const Strides& columns_at,
              const typename T::bits* bias, typename T::bits* y, const Strides& y_at,
              const Geometry& g, double negative_slope) {
  using Compute = typename T::compute;
  const auto slope = static_cast<Compute>(negative_slope);
  const Buffer buffer(g, g.out_h, 1, 0);
  const int64_t jobs = g.samples * g.channels * buffer.blocks;
  const int64_t cost = buffer.rows * g.out_w * (1 + g.kernel_h / g.stride_h);
  parallel_for(0, jobs, 1 + kGrain / cost, [&](int64_t begin, int64_t end) {
    std::vector<Compute> sums(static_cast<size_t>(buffer.size));
    for (int64_t job = begin; job < end; ++job) {
      const int64_t top = job % buffer.blocks * buffer.rows;
      const int64_t c = job / buffer.blocks % g.channels;
      const int64_t n = job / buffer.blocks / g.channels;
      const int64_t rows = std::min(buffer.rows, g.out_h - top);
      std::fill(sums.begin(), sums.end(), Compute(0));
      for (int64_t ki = 0; ki < g.kernel_h; ++ki) {
        // The input rows whose tap ki lands in this block.
        const int64_t lowest = top + g.pad_h - ki;
        const int64_t first = std::max<int64_t>(0, ceil_div(lowest, g.stride_h));
        const int64_t last = std::min(g.in_h, ceil_div(lowest + rows, g.stride_h));
        if (first >= last) continue;
        Compute* target = sums.data() + (first * g.stride_h - lowest) * buffer.row;
        for (int64_t kj = 0; kj < g.kernel_w; ++kj) {
          const int64_t k = (c * g.kernel_h + ki) * g.kernel_w + kj;
          add_plane<T>(target + buffer.tap(g, kj), g.stride_h * buffer.row,
                       columns + columns_at.of(n, k, first, 0), columns_at.h, columns_at.w,
                       last - first, g.in_w);
        }
      }
      const Compute shift = bias != nullptr ? T::load(bias[c]) : Compute(0);
      if (kind != Activation::kNone || bias != nullptr) {
        activate_range<T, kind>(sums.data(), shift, slope, rows * buffer.row);
      }
      write_rows<T>(sums.data(), buffer, y + y_at.of(n, c, top, 0), y_at, rows, g);
    }
  });
}

// One phase of some rows of the activation's gradient. `y` is not read where there is none.
template <class T, Activation kind>
GANKIT_SIMD void gradient_phase(const typename T::bits* __restrict__ grad, int64_t grad_row,
                                int64_t grad_step, const typename T::bits* __restrict__ y,
                                int64_t y_row, int64_t y_step, typename T::compute slope,
                                typename T::bits* __restrict__ out, int64_t out_row, int64_t rows,
                                int64_t count) {
  for (int64_t r = 0; r < rows; ++r, grad += grad_row, y += y_row, out += out_row) {
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (kind == Activation::kNone) {
        out[i] = grad[i * grad_step];
      } else {
        out[i] = T::store(
            activation_gradient<kind>(T::load(grad[i * grad_step]), T::load(y[i * y_step]), slope));
      }
    }
  }
}

template <class Bits>
GANKIT_SIMD void copy_plane(const Bits* __restrict__ source, int64_t source_row,
                            Bits* __restrict__ target, int64_t target_row, int64_t step,
                            int64_t rows, int64_t count) {
  for (int64_t r = 0; r < rows; ++r, source += source_row, target += target_row) {
    if (step == 1) {
      for (int64_t i = 0; i < count; ++i) target[i] = source[i];
    } else {
      for (int64_t i = 0; i < count; ++i) target[i * step] = source[i];
    }
  }
}

// grad_columns = unfold(grad * activation'(y)): the transpose of the fold. Any strides; `y` may be
// null where the activation is none.
template <class T, Activation kind>
void unfold_cpu(const typename T::bits* grad, const Strides& grad_at, const typename T::bits* y,
                const Strides& y_at, typename T::bits* grad_columns, const Strides& columns_at,
                const Geometry& g, double negative_slope) {
  using Bits = typename T::bits;
  const auto slope = static_cast<typename T::compute>(negative_slope);
  const Buffer buffer(g, g.in_h, g.stride_h, g.kernel_h - 1);
  const int64_t jobs = g.samples * g.channels * buffer.blocks;
  const int64_t cost = buffer.rows * g.kernel_h * g.kernel_w * g.in_w;
  // Without an activation y is not read; any pointer does, and the walk stays within `grad`.
  const Bits* saved = kind == Activation::kNone ? grad : y;
  const Strides saved_at = kind == Activation::kNone ? grad_at : y_at;
  parallel_for(0, jobs, 1 + kGrain / cost, [&](int64_t begin, int64_t end) {
    std::vector<Bits> image(static_cast<size_t>(buffer.size));
    for (int64_t job = begin; job < end; ++job) {
      const int64_t iy = job % buffer.blocks * buffer.rows;
      const int64_t c = job / buffer.blocks % g.channels;
      const int64_t n = job / buffer.blocks / g.channels;
      const int64_t rows = std::min(buffer.rows, g.in_h - iy);
      // Row r of the buffer is output row top + r; what lies outside is zero bits, that is zero.
      const int64_t top = iy * g.stride_h - g.pad_h;
      const int64_t first = std::max<int64_t>(0, top);
      const int64_t last = std::min(g.out_h, top + (rows - 1) * g.stride_h + g.kernel_h);
      std::fill(image.begin(), image.end(), Bits(0));
      for (int64_t p = 0; p < g.stride_w && first < last; ++p) {
        const Phase phase(g, p, buffer.length);
        if (phase.count == 0) continue;
        gradient_phase<T, kind>(
            grad + grad_at.of(n, c, first, phase.first), grad_at.h, grad_at.w * g.stride_w,
            saved + saved_at.of(n, c, first, phase.first), saved_at.h, saved_at.w * g.stride_w,
            slope, image.data() + (first - top) * buffer.row + phase.entry, buffer.row,
            last - first, phase.count);
      }
      for (int64_t ki = 0; ki < g.kernel_h; ++ki) {
        for (int64_t kj = 0; kj < g.kernel_w; ++kj) {
          const int64_t k = (c * g.kernel_h + ki) * g.kernel_w + kj;
          copy_plane<Bits>(image.data() + ki * buffer.row + buffer.tap(g, kj),
                           g.stride_h * buffer.row, grad_columns + columns_at.of(n, k, iy, 0),
                           columns_at.h, columns_at.w, rows, g.in_w);
        }
      }
    }
  });
}

}  // namespace gankit::conv_transpose2d
