// Enough of CUDA for a host compiler to run kernels. GANKIT_LAUNCH runs every thread of every block
// in turn, for kernels whose threads do not talk to each other; GANKIT_LAUNCH_TOGETHER gives each
// thread of a block a thread of the host, so that __syncthreads and shared memory work. It checks
// indices, tails, alignment and races where there is no GPU.
#pragma once

#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static  // blocks run one after the other

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline thread_local dim3 blockIdx, threadIdx, gridDim, blockDim;

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

inline std::barrier<>* emulated_block = nullptr;
inline void __syncthreads() {
  emulated_block->arrive_and_wait();
}

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

#define GANKIT_LAUNCH_TOGETHER(kernel, grid, threads, stream, ...) \
  do {                                                             \
    (void)(stream);                                                \
    auto* run = (kernel);                                          \
    for (unsigned b = 0; b < static_cast<unsigned>(grid); ++b) {   \
      std::barrier<> together(threads);                            \
      emulated_block = &together;                                  \
      std::vector<std::thread> team;                               \
      for (unsigned t = 0; t < threads; ++t) {                     \
        team.emplace_back([&, b, t] {                              \
          gridDim.x = static_cast<unsigned>(grid);                 \
          blockDim.x = static_cast<unsigned>(threads);             \
          blockIdx.x = b;                                          \
          threadIdx.x = t;                                         \
          run(__VA_ARGS__);                                        \
        });                                                        \
      }                                                            \
      for (auto& thread : team) thread.join();                     \
    }                                                              \
  } while (0)

// In place of the one in csrc/common/cuda_sum.h, which shuffles: it works under GANKIT_LAUNCH,
// where threads come in their order and the last one has the sum.
#define GANKIT_SUM_OVER_BLOCK_EMULATED
namespace gankit {

template <class F>
inline void sum_over_block(double value, const F& use) {
  static thread_local double total = 0;
  if (threadIdx.x == 0) total = 0;
  total += value;
  if (threadIdx.x + 1 == blockDim.x) use(total);
}

}  // namespace gankit
