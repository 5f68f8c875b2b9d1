// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "batch_norm_act_math.h"

namespace gankit::batch_norm_act {

// Values that one thread adds up before its sum is joined with others: few enough that a sum of
// squares about the thread's first value keeps its digits, many enough to stream.
constexpr int64_t kValuesPerThread = 64;
constexpr int64_t kSumThreads = 256;

// Partial sums that each channel of a group leaves in the table.
inline int64_t parts_of(const Geometry& g) {
  const int64_t each = g.channels_last ? kValuesPerThread : kValuesPerThread * kSumThreads;
  return (g.count() + each - 1) / each;
}

// Bytes of the table of partial sums.
template <class Compute>
int64_t table_bytes(const Geometry& g) {
  return g.groups * parts_of(g) * g.channels * static_cast<int64_t>(sizeof(Moments<Compute>));
}

// Six arrays of [groups, channels], in the order of Channel's members; the length of one of them,
// rounded up so that each starts on a 16-byte boundary.
inline int64_t array_length(const Geometry& g) {
  return (g.groups * g.channels + 3) / 4 * 4;
}

template <class T>
cudaError_t statistics_cuda(const void* x, const Geometry& g, void* table,
                            typename T::compute* mean, typename T::compute* var,
                            cudaStream_t stream);

template <class T>
cudaError_t sums_cuda(const void* grad, const void* x, const Geometry& g,
                      const Inputs<typename T::compute>& in, Activation activation, void* table,
                      typename T::compute* sum_h, typename T::compute* sum_hx, cudaStream_t stream);

// Fills `arrays` and runs over the elements; y may be x.
template <class T>
cudaError_t apply_cuda(const void* x, void* y, const Geometry& g,
                       const Inputs<typename T::compute>& in, Activation activation,
                       typename T::compute* arrays, int multiprocessors, cudaStream_t stream);

template <class T>
cudaError_t grad_input_cuda(const void* grad, const void* x, void* grad_x, const Geometry& g,
                            const Inputs<typename T::compute>& in, Activation activation,
                            typename T::compute* arrays, int multiprocessors, cudaStream_t stream);

template <class Compute>
cudaError_t finish_sums_cuda(const Finish<Compute>& finish, cudaStream_t stream);

// As reference.update_, on running statistics with the strides given; `batches` may be null.
template <class Compute>
cudaError_t update_cuda(Compute* running_mean, int64_t mean_stride, Compute* running_var,
                        int64_t var_stride, const Compute* mean, const Compute* var,
                        const int64_t* batches, double momentum, double correction, int64_t groups,
                        int64_t channels, cudaStream_t stream);

}  // namespace gankit::batch_norm_act
