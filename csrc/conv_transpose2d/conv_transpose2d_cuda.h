// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"
#include "conv_transpose2d_math.h"

namespace gankit::conv_transpose2d {

// All pointers are device pointers. `bias` may be null. y is dense, contiguous or channels_last.
template <class T, Activation kind>
cudaError_t fold_cuda(const void* columns, const Strides& columns_at, const void* bias, void* y,
                      bool channels_last, const Geometry& g, double negative_slope,
                      int multiprocessors, cudaStream_t stream);

// `y` may be null where the activation is none. grad_columns is dense, contiguous or channels_last.
template <class T, Activation kind>
cudaError_t unfold_cuda(const void* grad, const Strides& grad_at, const void* y,
                        const Strides& y_at, void* grad_columns, bool channels_last,
                        const Geometry& g, double negative_slope, int multiprocessors,
                        cudaStream_t stream);

}  // namespace gankit::conv_transpose2d
