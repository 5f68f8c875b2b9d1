// Enough of CUDA for a host compiler to run kernels whose threads do not talk to each other: every
// thread of every block in turn. It checks indices, tails and alignment where there is no GPU.
#pragma once

#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline thread_local dim3 blockIdx, threadIdx, gridDim, blockDim;

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
}

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0 };
inline cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

#define GANKIT_LAUNCH(kernel, grid, threads, stream, ...)              \
  do {                                                                 \
    (void)(stream);                                                    \
    gridDim.x = static_cast<unsigned>(grid);                           \
    blockDim.x = static_cast<unsigned>(threads);                       \
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {       \
      for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) { \
        (kernel)(__VA_ARGS__);                                         \
      }                                                                \
    }                                                                  \
  } while (0)
