// Eight elements per thread, moved in 16-byte accesses; grid-stride loops over 64-bit indices.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "simd.h"

// A macro, because the C++ tests run the kernels on the host, where <<< >>> is no syntax.
#if defined(__CUDACC__)
#define GANKIT_LAUNCH(kernel, grid, threads, stream, ...) \
  (kernel)<<<(grid), (threads), 0, (stream)>>>(__VA_ARGS__)
#endif

namespace gankit {

constexpr int kThreads = 256;
constexpr int kElements = 8;  // per thread and step: one Philox block

// Division by a number that the host knows: a 64-bit division on the device is a call of some
// hundred instructions. With magic = floor((2^64 - 1) / divisor) the high half of dividend * magic
// is the quotient or one less, for dividends below 2^63.
struct Divisor {
  uint64_t divisor, magic;

  explicit Divisor(int64_t d)
      : divisor(static_cast<uint64_t>(d)), magic(~uint64_t{0} / static_cast<uint64_t>(d)) {}

  __device__ __forceinline__ int64_t divide(int64_t dividend, int64_t& remainder) const {
    uint64_t quotient = __umul64hi(static_cast<uint64_t>(dividend), magic);
    uint64_t rest = static_cast<uint64_t>(dividend) - quotient * divisor;
    if (rest >= divisor) {
      ++quotient;
      rest -= divisor;
    }
    remainder = static_cast<int64_t>(rest);
    return static_cast<int64_t>(quotient);
  }
};

// Enough blocks to fill the device several times over; the kernels stride over what is left.
inline int grid_size(int64_t vectors, int multiprocessors) {
  const int64_t wanted = (vectors + kThreads - 1) / kThreads;
  const int64_t most = static_cast<int64_t>(multiprocessors) * 16;
  return static_cast<int>(wanted < 1 ? 1 : (wanted < most ? wanted : most));
}

inline bool aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// The elements starting at p[first], eight or, where registers are short, fewer; those at or past n
// read as zero bits and are not written. kAligned promises that p is 16-byte aligned; whole vectors
// then move as uint4. Plain loads, not __ldg: in-place kernels write what they read.
template <bool kAligned, class Bits, int kCount>
__device__ __forceinline__ void load8(const Bits* p, int64_t first, int64_t n,
                                      Bits (&out)[kCount]) {
  if (kAligned && first + kCount <= n) {
    constexpr int kWords = static_cast<int>(sizeof(out) / (sizeof(uint4)));
    const uint4* source = reinterpret_cast<const uint4*>(p + first);
    uint4 words[kWords];
    GANKIT_UNROLL
    for (int w = 0; w < kWords; ++w) words[w] = source[w];
    memcpy(out, words, sizeof(out));
    return;
  }
  GANKIT_UNROLL
  for (int j = 0; j < kCount; ++j) out[j] = first + j < n ? p[first + j] : Bits(0);
}

template <bool kAligned, class Bits, int kCount>
__device__ __forceinline__ void store8(Bits* p, int64_t first, int64_t n,
                                       const Bits (&in)[kCount]) {
  if (kAligned && first + kCount <= n) {
    constexpr int kWords = static_cast<int>(sizeof(in) / (sizeof(uint4)));
    uint4 words[kWords];
    memcpy(words, in, sizeof(in));
    uint4* target = reinterpret_cast<uint4*>(p + first);
    GANKIT_UNROLL
    for (int w = 0; w < kWords; ++w) target[w] = words[w];
    return;
  }
  GANKIT_UNROLL
  for (int j = 0; j < kCount; ++j) {
    if (first + j < n) p[first + j] = in[j];
  }
}

}  // namespace gankit
