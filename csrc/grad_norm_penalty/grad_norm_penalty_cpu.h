// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../common/parallel.h"
#include "../common/scale_samples.h"
#include "grad_norm_penalty_math.h"

namespace gankit::grad_norm_penalty {

constexpr int kLanes = 32;            // independent sums, so that additions do not wait in line
constexpr int64_t kChunk = 2048;      // elements summed in the compute type
constexpr int64_t kSumGrain = 16384;  // elements per thread

// Sum of squares of at most kChunk elements, in an order that depends on the count alone.
template <class T>
GANKIT_SIMD typename T::compute sum_of_squares(const typename T::bits* x, int64_t count) {
  typename T::compute lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const auto value = T::load(x[i + j]);
      lanes[j] += value * value;
    }
  }
  for (; i < count; ++i) {
    const auto value = T::load(x[i]);
    lanes[0] += value * value;
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// The norm of every row of `grad`, which lie one after the other.
template <class T>
void norms_cpu(const typename T::bits* grad, typename T::compute* norms, int64_t rows,
               int64_t length) {
  const int64_t grain = std::max<int64_t>(1, kSumGrain / std::max<int64_t>(1, length));
  parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto* x = grad + row * length;
      double total = 0;
      for (int64_t at = 0; at < length; at += kChunk) {
        total += sum_of_squares<T>(x + at, std::min(kChunk, length - at));
      }
      norms[row] = static_cast<typename T::compute>(std::sqrt(total));
    }
  });
}

// The mean over samples; NaN where there are none, as torch's mean of nothing.
template <class T>
typename T::bits mean_penalty(const typename T::compute* norms, int64_t rows, double target,
                              int64_t mode) {
  double total = 0;
  for (int64_t i = 0; i < rows; ++i) {
    total += penalty<typename T::compute>(norms[i], static_cast<typename T::compute>(target), mode);
  }
  const double mean = rows == 0 ? std::nan("") : total / static_cast<double>(rows);
  return T::store(static_cast<typename T::compute>(mean));
}

// upstream / samples * factor, for every sample.
template <class T>
std::vector<typename T::compute> factors(typename T::bits upstream,
                                         const typename T::compute* norms, int64_t rows,
                                         double target, int64_t mode) {
  using Compute = typename T::compute;
  std::vector<Compute> table(static_cast<size_t>(rows));
  const Compute share = T::load(upstream) / static_cast<Compute>(rows);
  for (int64_t i = 0; i < rows; ++i) {
    table[static_cast<size_t>(i)] =
        share * factor<Compute>(norms[i], static_cast<Compute>(target), mode);
  }
  return table;
}

template <class T>
void backward_cpu(typename T::bits upstream, const typename T::bits* grad,
                  const typename T::compute* norms, typename T::bits* out, int64_t n,
                  const Samples& samples, double target, int64_t mode) {
  const auto table = factors<T>(upstream, norms, samples.count, target, mode);
  scale_samples<T>(grad, out, n, samples, table.data());
}

}  // namespace gankit::grad_norm_penalty
