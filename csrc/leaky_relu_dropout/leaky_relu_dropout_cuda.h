// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"
#include "leaky_relu_dropout_math.h"

namespace gankit::leaky_relu_dropout {

// `channels` null: one draw per element. All pointers are device pointers; `seed` points to the
// key.
template <class T>
cudaError_t forward_cuda(const void* x, void* y, int64_t n, const int64_t* seed, int64_t stream_id,
                         const Factors<T>& factors, const Channels* channels, int multiprocessors,
                         cudaStream_t stream);

template <class T>
cudaError_t backward_cuda(const void* grad, const void* y, void* grad_x, int64_t n,
                          const Factors<T>& factors, int multiprocessors, cudaStream_t stream);

template <class T>
cudaError_t backward_from_input_cuda(const void* grad, const void* x, void* grad_x, int64_t n,
                                     const int64_t* seed, int64_t stream_id,
                                     const Factors<T>& factors, const Channels* channels,
                                     int multiprocessors, cudaStream_t stream);

}  // namespace gankit::leaky_relu_dropout
