// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"
#include "../common/samples.h"

namespace gankit::grad_norm_penalty {

// `grad` holds `rows` rows of `length` elements, one after the other. All pointers are device
// pointers; `norms` and `penalty` are written.
template <class T>
cudaError_t forward_cuda(const void* grad, void* norms, void* penalty, int64_t rows, int64_t length,
                         double target, int64_t mode, int multiprocessors, cudaStream_t stream);

template <class T>
cudaError_t backward_cuda(const void* upstream, const void* grad, const void* norms, void* out,
                          int64_t n, const Samples& samples, double target, int64_t mode,
                          int multiprocessors, cudaStream_t stream);

}  // namespace gankit::grad_norm_penalty
