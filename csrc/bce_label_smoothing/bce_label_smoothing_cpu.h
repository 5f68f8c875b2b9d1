// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/parallel.h"
#include "bce_label_smoothing_math.h"

namespace gankit::bce_label_smoothing {

// A sum is made of chunks whose bounds depend on the size alone, each of them of lanes that take
// every kLanes-th element: the same bits whatever the number of threads.
constexpr int64_t kLanes = 256;
constexpr int64_t kChunk = 16384;
constexpr int64_t kGrain = 8192;  // elements per thread where nothing is summed

template <class T, class Form, class Target>
GANKIT_SIMD void add_losses(const typename T::bits* x, Target target, typename T::compute* lanes,
                            Labels<T> labels, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    lanes[i] += Form::template loss<T>(T::load(x[i]), target.template get<T>(i), labels);
  }
}

// Returns how many losses are NaN.
template <class T, class Form, class Target>
GANKIT_SIMD int64_t store_losses(const typename T::bits* x, Target target, typename T::bits* y,
                                 Labels<T> labels, int64_t count) {
  int64_t invalid = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto loss = Form::template loss<T>(T::load(x[i]), target.template get<T>(i), labels);
    invalid += loss != loss;
    y[i] = T::store(loss);
  }
  return invalid;
}

// The gradient of the result: one for all elements, or one each.
template <class T>
struct ScalarGrad {
  typename T::compute value;

  GANKIT_HD typename T::compute get(int64_t) const { return value; }
  GANKIT_HD ScalarGrad from(int64_t) const { return *this; }
};

template <class T>
struct TensorGrad {
  const typename T::bits* data;

  GANKIT_HD typename T::compute get(int64_t i) const { return T::load(data[i]); }
  GANKIT_HD TensorGrad from(int64_t offset) const { return {data + offset}; }
};

template <class T, class Form, class Target, class Grad>
GANKIT_SIMD void slopes(const typename T::bits* x, Target target, Grad grad,
                        typename T::bits* grad_x, Labels<T> labels, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const auto slope = Form::template slope<T>(T::load(x[i]), target.template get<T>(i), labels);
    grad_x[i] = T::store(grad.get(i) * slope);
  }
}

template <class T, class Form, class Target>
double sum_chunk(const typename T::bits* x, const Target& target, const Labels<T>& labels,
                 int64_t count) {
  alignas(64) typename T::compute lanes[kLanes] = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    add_losses<T, Form>(x + i, target.from(i), lanes, labels, std::min(kLanes, count - i));
  }
  double sum = 0;
  for (int64_t lane = 0; lane < std::min(kLanes, count); ++lane) sum += lanes[lane];
  return sum;
}

// The sum of all losses. For probabilities it is NaN exactly if an element lies outside [0, 1].
template <class T, class Form, class Target>
double sum_cpu(const typename T::bits* x, const Target& target, const Labels<T>& labels,
               int64_t n) {
  if (n <= kChunk) return sum_chunk<T, Form>(x, target, labels, n);
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> sums(static_cast<size_t>(chunks));
  parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first = c * kChunk;
      sums[static_cast<size_t>(c)] =
          sum_chunk<T, Form>(x + first, target.from(first), labels, std::min(kChunk, n - first));
    }
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

// Every loss by itself; returns whether none is NaN.
template <class T, class Form, class Target>
bool each_cpu(const typename T::bits* x, const Target& target, typename T::bits* y,
              const Labels<T>& labels, int64_t n) {
  const int64_t chunks = (n + kGrain - 1) / kGrain;
  std::vector<uint8_t> invalid(static_cast<size_t>(chunks));
  parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first = c * kGrain;
      invalid[static_cast<size_t>(c)] =
          store_losses<T, Form>(x + first, target.from(first), y + first, labels,
                                std::min(kGrain, n - first)) != 0;
    }
  });
  return std::count(invalid.begin(), invalid.end(), 0) == chunks;
}

template <class T, class Form, class Target, class Grad>
void backward_cpu(const typename T::bits* x, const Target& target, const Grad& grad,
                  typename T::bits* grad_x, const Labels<T>& labels, int64_t n) {
  parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    slopes<T, Form>(x + begin, target.from(begin), grad.from(begin), grad_x + begin, labels,
                    end - begin);
  });
}

}  // namespace gankit::bce_label_smoothing
