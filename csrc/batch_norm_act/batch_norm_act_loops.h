// The loops over elements. Each stands alone, because a compiler that sees what is around them runs
// out of vector registers, and is cloned for the instruction sets.
#pragma once

#include <cstdint>

#include "batch_norm_act_math.h"

namespace gankit::batch_norm_act {

template <class Compute>
constexpr int kLanes = static_cast<int>(128 / sizeof(Compute));  // two vectors of AVX-512

// Rows that one pass along the channels takes, so that accumulators and parameters are loaded once
// for all of them.
constexpr int kRows = 4;

template <class Compute>
struct TwoTerms {
  Compute first, second;
};

// Where a unit's planes lie: `count` channels, `stride` elements apart, of n elements in each of
// `samples` samples, `step` apart.
struct Planes {
  int64_t count, stride, n, samples, step;
};

// Adds terms(i) of the elements of one channel to two rows of lanes.
template <class Compute, class Terms>
GANKIT_HD void add_to_lanes(const Planes& planes, Compute* __restrict__ lanes, const Terms& terms) {
  constexpr int kWide = kLanes<Compute>;
  const int64_t whole = planes.n / kWide * kWide, rest = planes.n - whole;
  if (whole > 0) {
    Compute a[kWide], b[kWide];
    for (int l = 0; l < kWide; ++l) {
      a[l] = lanes[l];
      b[l] = lanes[kWide + l];
    }
    for (int64_t s = 0, at = 0; s < planes.samples; ++s, at += planes.step) {
      for (int64_t i = at; i < at + whole; i += kWide) {
        for (int l = 0; l < kWide; ++l) {
          const TwoTerms<Compute> t = terms(i + l);
          a[l] += t.first;
          b[l] += t.second;
        }
      }
    }
    for (int l = 0; l < kWide; ++l) {
      lanes[l] = a[l];
      lanes[kWide + l] = b[l];
    }
  }
  if (rest == 0) return;
  for (int64_t s = 0, at = whole; s < planes.samples; ++s, at += planes.step) {
    for (int64_t l = 0; l < rest; ++l) {
      const TwoTerms<Compute> t = terms(at + l);
      lanes[l] += t.first;
      lanes[kWide + l] += t.second;
    }
  }
}

// The sum of each of `rows` rows of lanes, by halves: one lane after the other takes longer than
// the elements of a small plane.
template <class Compute>
GANKIT_SIMD void total_lanes(const Compute* lanes, int64_t rows, double* __restrict__ totals) {
  constexpr int kHalf = kLanes<Compute> / 2;
  for (int64_t r = 0; r < rows; ++r, lanes += 2 * kHalf) {
    double sums[kHalf];
    for (int l = 0; l < kHalf; ++l) {
      sums[l] = static_cast<double>(lanes[l]) + static_cast<double>(lanes[kHalf + l]);
    }
    for (int left = kHalf / 2; left > 0; left /= 2) {
      for (int l = 0; l < left; ++l) sums[l] += sums[left + l];
    }
    totals[r] = sums[0];
  }
}

// Sums of (x - shift) and its square for each channel. Lanes: [planes.count, 2, kLanes].
template <class T>
GANKIT_SIMD void sum_planes(const typename T::bits* x, Planes planes,
                            const typename T::compute* shift, typename T::compute* lanes) {
  using Compute = typename T::compute;
  for (int64_t c = 0; c < planes.count; ++c, x += planes.stride, lanes += 2 * kLanes<Compute>) {
    const Compute centre = shift[c];
    add_to_lanes(planes, lanes, [=](int64_t i) {
      const Compute v = T::load(x[i]) - centre;
      return TwoTerms<Compute>{v, v * v};
    });
  }
}

// The same for rows of channels, an accumulator for each.
template <class T, int kTogether>
GANKIT_HD void sum_rows_together(const typename T::bits* row, int64_t stride, int64_t n,
                                 const typename T::compute* shift,
                                 typename T::compute* __restrict__ sum,
                                 typename T::compute* __restrict__ squares) {
  for (int64_t c = 0; c < n; ++c) {
    typename T::compute a = sum[c], b = squares[c];
    for (int r = 0; r < kTogether; ++r) {
      const typename T::compute v = T::load(row[r * stride + c]) - shift[c];
      a += v;
      b += v * v;
    }
    sum[c] = a;
    squares[c] = b;
  }
}

template <class T>
GANKIT_SIMD void sum_rows(const typename T::bits* x, int64_t rows, int64_t stride, int64_t n,
                          const typename T::compute* shift, typename T::compute* sum,
                          typename T::compute* squares) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    sum_rows_together<T, kRows>(x + r * stride, stride, n, shift, sum, squares);
  }
  for (; r < rows; ++r) sum_rows_together<T, 1>(x + r * stride, stride, n, shift, sum, squares);
}

// The same of h and h * xhat.
template <class T, Activation kActivation>
GANKIT_SIMD void grad_sum_planes(const typename T::bits* grad, const typename T::bits* x,
                                 Planes planes, const Channel<typename T::compute>* channel,
                                 typename T::compute slope, typename T::compute* lanes) {
  using Compute = typename T::compute;
  for (int64_t p = 0; p < planes.count; ++p, grad += planes.stride, x += planes.stride) {
    const Channel<Compute> c = channel[p];
    add_to_lanes(planes, lanes + 2 * kLanes<Compute> * p, [=](int64_t i) {
      const Compute v = T::load(x[i]) - c.mean;
      const Compute h = grad_z<kActivation>(T::load(grad[i]), v * c.scale + c.shift, slope);
      return TwoTerms<Compute>{h, h * (v * c.inverse)};
    });
  }
}

// Channel parameters as arrays, which loops along a row of channels read.
template <class Compute>
struct ChannelArrays {
  const Compute *mean, *inverse, *scale, *shift, *constant, *linear;
};

template <class T, Activation kActivation, int kTogether>
GANKIT_HD void grad_sum_rows_together(const typename T::bits* grad, const typename T::bits* x,
                                      int64_t stride, int64_t n,
                                      ChannelArrays<typename T::compute> c,
                                      typename T::compute slope,
                                      typename T::compute* __restrict__ sum,
                                      typename T::compute* __restrict__ product) {
  using Compute = typename T::compute;
  for (int64_t k = 0; k < n; ++k) {
    Compute a = sum[k], b = product[k];
    const Compute mean = c.mean[k], inverse = c.inverse[k], scale = c.scale[k], shift = c.shift[k];
    for (int r = 0; r < kTogether; ++r) {
      const Compute v = T::load(x[r * stride + k]) - mean;
      const Compute h =
          grad_z<kActivation>(T::load(grad[r * stride + k]), v * scale + shift, slope);
      a += h;
      b += h * (v * inverse);
    }
    sum[k] = a;
    product[k] = b;
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void grad_sum_rows(const typename T::bits* grad, const typename T::bits* x,
                               int64_t rows, int64_t stride, int64_t n,
                               ChannelArrays<typename T::compute> c, typename T::compute slope,
                               typename T::compute* sum, typename T::compute* product) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    grad_sum_rows_together<T, kActivation, kRows>(grad + r * stride, x + r * stride, stride, n, c,
                                                  slope, sum, product);
  }
  for (; r < rows; ++r) {
    grad_sum_rows_together<T, kActivation, 1>(grad + r * stride, x + r * stride, stride, n, c,
                                              slope, sum, product);
  }
}

// h itself, of the same planes.
template <class T, Activation kActivation>
GANKIT_SIMD void grad_z_planes(const typename T::bits* grad, const typename T::bits* x,
                               typename T::bits* __restrict__ h, int64_t planes, int64_t stride,
                               int64_t n, const Channel<typename T::compute>* channel,
                               typename T::compute slope) {
  for (int64_t p = 0; p < planes; ++p, grad += stride, x += stride, h += stride) {
    const Channel<typename T::compute> c = channel[p];
    for (int64_t i = 0; i < n; ++i) {
      const auto z = (T::load(x[i]) - c.mean) * c.scale + c.shift;
      h[i] = T::store(grad_z<kActivation>(T::load(grad[i]), z, slope));
    }
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void grad_z_rows(const typename T::bits* grad, const typename T::bits* x,
                             typename T::bits* __restrict__ h, int64_t rows, int64_t stride,
                             int64_t n, ChannelArrays<typename T::compute> c,
                             typename T::compute slope) {
  for (int64_t r = 0; r < rows; ++r, grad += stride, x += stride, h += stride) {
    for (int64_t k = 0; k < n; ++k) {
      const auto z = (T::load(x[k]) - c.mean[k]) * c.scale[k] + c.shift[k];
      h[k] = T::store(grad_z<kActivation>(T::load(grad[k]), z, slope));
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
    GANKIT_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) y[i] = forward<T, kActivation>(x[i], mean, scale, shift, slope);
  }
}

// No iteration reads what another writes, though y may be x.
template <class T, Activation kActivation, int kTogether>
GANKIT_HD void apply_rows_together(const typename T::bits* x, typename T::bits* y, int64_t n,
                                   ChannelArrays<typename T::compute> c,
                                   typename T::compute slope) {
  GANKIT_INDEPENDENT
  for (int64_t k = 0; k < n; ++k) {
    const auto mean = c.mean[k], scale = c.scale[k], shift = c.shift[k];
    for (int r = 0; r < kTogether; ++r) {
      y[r * n + k] = forward<T, kActivation>(x[r * n + k], mean, scale, shift, slope);
    }
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void apply_rows(const typename T::bits* x, typename T::bits* y, int64_t rows, int64_t n,
                            ChannelArrays<typename T::compute> c, typename T::compute slope) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    apply_rows_together<T, kActivation, kRows>(x + r * n, y + r * n, n, c, slope);
  }
  for (; r < rows; ++r) {
    apply_rows_together<T, kActivation, 1>(x + r * n, y + r * n, n, c, slope);
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void grad_input_planes(const typename T::bits* grad, const typename T::bits* x,
                                   typename T::bits* grad_x, int64_t planes, int64_t n,
                                   const Channel<typename T::compute>* channel,
                                   typename T::compute slope) {
  for (int64_t p = 0; p < planes; ++p, grad += n, x += n, grad_x += n) {
    const Channel<typename T::compute> c = channel[p];
    GANKIT_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      grad_x[i] = grad_input<T, kActivation>(grad[i], x[i], c, slope);
    }
  }
}

// No iteration reads what another writes, though grad_x may be grad.
template <class T, Activation kActivation, int kTogether>
GANKIT_HD void grad_input_rows_together(const typename T::bits* grad, const typename T::bits* x,
                                        typename T::bits* grad_x, int64_t n,
                                        ChannelArrays<typename T::compute> c,
                                        typename T::compute slope) {
  GANKIT_INDEPENDENT
  for (int64_t k = 0; k < n; ++k) {
    const Channel<typename T::compute> channel{c.mean[k],  c.inverse[k],  c.scale[k],
                                               c.shift[k], c.constant[k], c.linear[k]};
    for (int r = 0; r < kTogether; ++r) {
      const int64_t at = r * n + k;
      grad_x[at] = grad_input<T, kActivation>(grad[at], x[at], channel, slope);
    }
  }
}

template <class T, Activation kActivation>
GANKIT_SIMD void grad_input_rows(const typename T::bits* grad, const typename T::bits* x,
                                 typename T::bits* grad_x, int64_t rows, int64_t n,
                                 ChannelArrays<typename T::compute> c, typename T::compute slope) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    grad_input_rows_together<T, kActivation, kRows>(grad + r * n, x + r * n, grad_x + r * n, n, c,
                                                    slope);
  }
  for (; r < rows; ++r) {
    grad_input_rows_together<T, kActivation, 1>(grad + r * n, x + r * n, grad_x + r * n, n, c,
                                                slope);
  }
}

}  // namespace gankit::batch_norm_act
