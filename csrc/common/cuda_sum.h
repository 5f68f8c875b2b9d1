// Sums over a grid without atomics: every block leaves one number, and one block adds those up. The
// order is fixed by the launch, so the same input gives the same bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda_vector.h"

namespace gankit {

#if !defined(GANKIT_SUM_OVER_BLOCK_EMULATED)  // the C++ tests bring their own, without shuffles
// Adds the `value` of every thread of a block of kThreads and calls use(sum) in one of them.
template <class F>
__device__ __forceinline__ void sum_over_block(double value, const F& use) {
  constexpr int kWarp = 32;
  __shared__ double warps[kThreads / kWarp];
  GANKIT_UNROLL
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xFFFFFFFFu, value, offset);
  }
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  value = threadIdx.x < kThreads / kWarp ? warps[threadIdx.x] : 0.0;
  GANKIT_UNROLL
  for (int offset = kThreads / kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xFFFFFFFFu, value, offset);
  }
  if (threadIdx.x == 0) use(value);
}
#endif

// The last step, run by one block: the sum of `count` numbers.
template <class F>
__device__ __forceinline__ void sum_of_blocks(const double* sums, int count, const F& use) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) sum += sums[i];
  sum_over_block(sum, use);
}

}  // namespace gankit
