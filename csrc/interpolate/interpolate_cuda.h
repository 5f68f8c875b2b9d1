// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"
#include "../common/samples.h"

namespace gankit::interpolate {

// All pointers are device pointers; `seed` points to the key.
template <class T>
cudaError_t forward_cuda(const void* real, const void* fake, void* out, int64_t n,
                         const Samples& samples, const int64_t* seed, int64_t stream_id,
                         int multiprocessors, cudaStream_t stream);

template <class T>
cudaError_t backward_cuda(const void* grad, void* out, int64_t n, const Samples& samples,
                          const int64_t* seed, int64_t stream_id, bool of_fake, int multiprocessors,
                          cudaStream_t stream);

}  // namespace gankit::interpolate
