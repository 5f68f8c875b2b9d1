// Sums over the threads of a block, always in the same order: same input, same bits.
#pragma once

#include "cuda_vector.h"

// A launch whose threads wait for each other. The C++ tests, which run a kernel's threads one after
// the other, need to know which those are.
#if defined(__CUDACC__)
#define GANKIT_LAUNCH_TOGETHER GANKIT_LAUNCH
#endif

namespace gankit {

// `shared` holds kThreads numbers, and every thread of the block calls this. All get the sum.
template <class Number>
__device__ __forceinline__ Number block_sum(Number value, Number* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) shared[thread] += shared[thread + half];
    __syncthreads();
  }
  const Number sum = shared[0];
  __syncthreads();  // before anyone writes the next sum's terms
  return sum;
}

}  // namespace gankit
