// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"
#include "bce_label_smoothing_math.h"

namespace gankit::bce_label_smoothing {

// All pointers are device pointers, except that a function object holds its own.

// As many blocks as sum_cuda launches; `sums` of it must hold that many numbers.
int sum_blocks(int64_t n, int multiprocessors);

// *y = factor * (the sum of n losses)
template <class T, class Form, class Target>
cudaError_t sum_cuda(const void* x, const Target& target, void* y, double* sums, int64_t n,
                     const Labels<T>& labels, double factor, int multiprocessors,
                     cudaStream_t stream);

// y[i] = loss i
template <class T, class Form, class Target>
cudaError_t each_cuda(const void* x, const Target& target, void* y, int64_t n,
                      const Labels<T>& labels, int multiprocessors, cudaStream_t stream);

// grad_x[i] = factor * *grad * slope i
template <class T, class Form, class Target>
cudaError_t backward_shared_cuda(const void* grad, const void* x, const Target& target,
                                 void* grad_x, int64_t n, const Labels<T>& labels, double factor,
                                 int multiprocessors, cudaStream_t stream);

// grad_x[i] = grad[i] * slope i
template <class T, class Form, class Target>
cudaError_t backward_each_cuda(const void* grad, const void* x, const Target& target, void* grad_x,
                               int64_t n, const Labels<T>& labels, int multiprocessors,
                               cudaStream_t stream);

}  // namespace gankit::bce_label_smoothing
