// What the CUDA kernels of bce_label_smoothing and gan_bce share.
#pragma once

#include "../common/cuda_sum.h"
#include "../common/cuda_vector.h"
#include "bce_label_smoothing_math.h"

namespace gankit::bce_label_smoothing {

// Elements per thread and step. In double precision exp and log are libm's, and eight of them at a
// time need more registers than there are.
template <class T>
constexpr int kStep = sizeof(typename T::bits) == 8 ? 2 : kElements;

// The raw labels of one step; kAligned speaks of this tensor's pointer too.
template <class T, bool kAligned>
__device__ __forceinline__ void load_targets(const ScalarTarget&, int64_t, int64_t,
                                             typename T::compute (&t)[kStep<T>]) {
  GANKIT_UNROLL
  for (int j = 0; j < kStep<T>; ++j) t[j] = 0;
}

template <class T, bool kAligned>
__device__ __forceinline__ void load_targets(const BoolTarget& target, int64_t first, int64_t n,
                                             typename T::compute (&t)[kStep<T>]) {
  GANKIT_UNROLL
  for (int j = 0; j < kStep<T>; ++j) {
    t[j] = static_cast<typename T::compute>(first + j < n ? target.data[first + j] : 0);
  }
}

template <class T, bool kAligned>
__device__ __forceinline__ void load_targets(const TensorTarget<T>& target, int64_t first,
                                             int64_t n, typename T::compute (&t)[kStep<T>]) {
  typename T::bits bits[kStep<T>];
  load8<kAligned>(target.data, first, n, bits);
  GANKIT_UNROLL
  for (int j = 0; j < kStep<T>; ++j) t[j] = T::load(bits[j]);
}

// This thread's part of the sum of n losses, where `block` of `blocks` walks over them. Those of
// a step are added in the compute type, the steps in double.
template <class T, class Form, class Target, bool kAligned>
__device__ __forceinline__ double thread_sum(const typename T::bits* x, const Target& target,
                                             const Labels<T>& labels, int64_t n, int64_t block,
                                             int64_t blocks) {
  double sum = 0;
  int64_t first = (block * kThreads + threadIdx.x) * kStep<T>;
  for (; first < n; first += blocks * kThreads * kStep<T>) {
    typename T::bits in[kStep<T>];
    typename T::compute t[kStep<T>];
    load8<kAligned>(x, first, n, in);
    load_targets<T, kAligned>(target, first, n, t);
    typename T::compute part = 0;
    GANKIT_UNROLL
    for (int j = 0; j < kStep<T>; ++j) {
      const auto loss = Form::template loss<T>(T::load(in[j]), t[j], labels);
      part += first + j < n ? loss : typename T::compute(0);
    }
    sum += static_cast<double>(part);
  }
  return sum;
}

// Gradients of n losses, all multiplied by `grad`.
template <class T, class Form, class Target, bool kAligned>
__device__ __forceinline__ void store_slopes(const typename T::bits* x, const Target& target,
                                             typename T::compute grad, typename T::bits* grad_x,
                                             const Labels<T>& labels, int64_t n, int64_t block,
                                             int64_t blocks) {
  int64_t first = (block * kThreads + threadIdx.x) * kStep<T>;
  for (; first < n; first += blocks * kThreads * kStep<T>) {
    typename T::bits in[kStep<T>], out[kStep<T>];
    typename T::compute t[kStep<T>];
    load8<kAligned>(x, first, n, in);
    load_targets<T, kAligned>(target, first, n, t);
    GANKIT_UNROLL
    for (int j = 0; j < kStep<T>; ++j) {
      out[j] = T::store(grad * Form::template slope<T>(T::load(in[j]), t[j], labels));
    }
    store8<kAligned>(grad_x, first, n, out);
  }
}

inline int64_t vectors(int64_t n) {
  return (n + kElements - 1) / kElements;
}

}  // namespace gankit::bce_label_smoothing
