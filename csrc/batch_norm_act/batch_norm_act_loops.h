// The loops over elements. Each stands alone, because a compiler that sees what is around them runs
// out of vector registers, and is cloned for the instruction sets.
#pragma once

#include <cstdint>

#include "batch_norm_act_math.h"

namespace gankit::batch_norm_act {

template <class Compute>
constexpr int kLanes = static_cast<int>(128 / sizeof(Compute));  // two vectors of AVX-512

// Sums of (x - shift) and its square over n elements, spread over lanes.
template <class T>
GANKIT_SIMD void sum_plane(const typename T::bits* x, int64_t n, typename T::compute shift,
                           typename T::compute* sum, typename T::compute* squares) {
  using Compute = typename T::compute;
  constexpr int kWide = kLanes<Compute>;
  Compute a[kWide], b[kWide];
  for (int l = 0; l < kWide; ++l) {
    a[l] = sum[l];
    b[l] = squares[l];
  }
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    for (int l = 0; l < kWide; ++l) {
      const Compute v = T::load(x[i + l]) - shift;
      a[l] += v;
      b[l] += v * v;
    }
  }
  for (int l = 0; l < kWide; ++l) {
    sum[l] = a[l];
    squares[l] = b[l];
  }
  for (int l = 0; i + l < n; ++l) {
    const Compute v = T::load(x[i + l]) - shift;
    sum[l] += v;
    squares[l] += v * v;
  }
}

// The same for one row of channels, an accumulator for each.
template <class T>
GANKIT_SIMD void sum_rows(const typename T::bits* x, int64_t rows, int64_t stride, int64_t n,
                          const typename T::compute* shift, typename T::compute* sum,
                          typename T::compute* squares) {
  for (int64_t r = 0; r < rows; ++r) {
    const typename T::bits* row = x + r * stride;
    for (int64_t c = 0; c < n; ++c) {
      const typename T::compute v = T::load(row[c]) - shift[c];
      sum[c] += v;
      squares[c] += v * v;
    }
  }
}

// Sums of h and h * xhat over n elements of one channel.
template <class T, Activation kActivation>
GANKIT_SIMD void grad_sum_plane(const typename T::bits* grad, const typename T::bits* x, int64_t n,
                                Channel<typename T::compute> c, typename T::compute slope,
                                typename T::compute* sum, typename T::compute* product) {
  using Compute = typename T::compute;
  constexpr int kWide = kLanes<Compute>;
  Compute a[kWide], b[kWide];
  for (int l = 0; l < kWide; ++l) {
    a[l] = sum[l];
    b[l] = product[l];
  }
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    for (int l = 0; l < kWide; ++l) {
      const Compute v = T::load(x[i + l]) - c.mean;
      const Compute h = grad_z<kActivation>(T::load(grad[i + l]), v * c.scale + c.shift, slope);
      a[l] += h;
      b[l] += h * (v * c.inverse);
    }
  }
  for (int l = 0; l < kWide; ++l) {
    sum[l] = a[l];
    product[l] = b[l];
  }
  for (int l = 0; i + l < n; ++l) {
    const Compute v = T::load(x[i + l]) - c.mean;
    const Compute h = grad_z<kActivation>(T::load(grad[i + l]), v * c.scale + c.shift, slope);
    sum[l] += h;
    product[l] += h * (v * c.inverse);
  }
}

// Channel parameters as arrays, which loops along a row of channels read.
template <class Compute>
struct ChannelArrays {
  const Compute *mean, *inverse, *scale, *shift, *constant, *linear;
};

template <class T, Activation kActivation>
GANKIT_SIMD void grad_sum_rows(const typename T::bits* grad, const typename T::bits* x,
                               int64_t rows, int64_t stride, int64_t n,
                               ChannelArrays<typename T::compute> c, typename T::compute slope,
                               typename T::compute* __restrict__ sum,
                               typename T::compute* __restrict__ product) {
  using Compute = typename T::compute;
  for (int64_t r = 0; r < rows; ++r) {
    const typename T::bits* row = x + r * stride;
    const typename T::bits* grad_row = grad + r * stride;
    for (int64_t k = 0; k < n; ++k) {
      const Compute v = T::load(row[k]) - c.mean[k];
      const Compute z = v * c.scale[k] + c.shift[k];
      const Compute h = grad_z<kActivation>(T::load(grad_row[k]), z, slope);
      sum[k] += h;
      product[k] += h * (v * c.inverse[k]);
    }
  }
}

// `planes` channels of n elements each, one after the other in memory.
template <class T, Activation kActivation>
GANKIT_SIMD void apply_planes(const typename T::bits* x, typename T::bits* y, int64_t planes,
                              int64_t n, const Channel<typename T::compute>* channel,
                              typename T::compute slope) {
  for (int64_t p = 0; p < planes; ++p, x += n, y += n) {
    const auto mean = channel[p].mean, scale = channel[p].scale, shift = channel[p].shift;
    for (int64_t i = 0; i < n; ++i) y[i] = forward<T, kActivation>(x[i], mean, scale, shift, slope);
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void apply_rows(const typename T::bits* x, typename T::bits* y, int64_t rows, int64_t n,
                            ChannelArrays<typename T::compute> c, typename T::compute slope) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    for (int64_t k = 0; k < n; ++k) {
      y[k] = forward<T, kActivation>(x[k], c.mean[k], c.scale[k], c.shift[k], slope);
    }
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void grad_input_planes(const typename T::bits* grad, const typename T::bits* x,
                                   typename T::bits* __restrict__ grad_x, int64_t planes, int64_t n,
                                   const Channel<typename T::compute>* channel,
                                   typename T::compute slope) {
  for (int64_t p = 0; p < planes; ++p, grad += n, x += n, grad_x += n) {
    const Channel<typename T::compute> c = channel[p];
    for (int64_t i = 0; i < n; ++i) {
      grad_x[i] = grad_input<T, kActivation>(grad[i], x[i], c, slope);
    }
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void grad_input_rows(const typename T::bits* grad, const typename T::bits* x,
                                 typename T::bits* __restrict__ grad_x, int64_t rows, int64_t n,
                                 ChannelArrays<typename T::compute> c, typename T::compute slope) {
  using Compute = typename T::compute;
  for (int64_t r = 0; r < rows; ++r, grad += n, x += n, grad_x += n) {
    for (int64_t k = 0; k < n; ++k) {
      const Channel<Compute> channel{c.mean[k],  c.inverse[k],  c.scale[k],
                                     c.shift[k], c.constant[k], c.linear[k]};
      grad_x[k] = grad_input<T, kActivation>(grad[k], x[k], channel, slope);
    }
  }
}

}  // namespace gankit::batch_norm_act
