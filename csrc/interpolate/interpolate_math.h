// Points between two batches: the only place the formulas stand in C++.
#pragma once

#include <cstdint>

#include "../common/dtype.h"
#include "../common/philox.h"
#include "../common/simd.h"

namespace gankit::interpolate {

// Samples that share one Philox block: its four 32-bit words.
constexpr int kSamplesPerBlock = 4;

// The word of a block that belongs to a sample. Not an array access, because an array with a
// run-time index would lie in a GPU's local memory.
GANKIT_HD uint32_t word_of(const Philox& block, int64_t sample) {
  const int number = static_cast<int>(sample % kSamplesPerBlock);
  const uint32_t front = number == 0 ? block.word[0] : block.word[1];
  const uint32_t back = number == 2 ? block.word[2] : block.word[3];
  return number < 2 ? front : back;
}

// A multiple of 2^-24 in [0, 1): exact in float, and so is one minus it.
template <class Compute>
GANKIT_HD Compute uniform(uint32_t word) {
  return static_cast<Compute>(word >> 8) * static_cast<Compute>(0x1p-24);
}

template <class Compute>
GANKIT_HD Compute weight(uint32_t word, bool of_fake) {
  const Compute e = uniform<Compute>(word);
  return of_fake ? 1 - e : e;
}

// Both products are rounded before they are added. Compilers otherwise merge a product and the sum
// into one instruction where the machine has it, and backends would differ in the last bit.
#if defined(__CUDA_ARCH__)
__device__ __forceinline__ float mixed(float e, float a, float b) {
  return __fadd_rn(__fmul_rn(e, a), __fmul_rn(1 - e, b));
}
__device__ __forceinline__ double mixed(double e, double a, double b) {
  return __dadd_rn(__dmul_rn(e, a), __dmul_rn(1 - e, b));
}
#else
template <class Compute>
GANKIT_HD Compute mixed(Compute e, Compute a, Compute b) {
#if defined(__clang__)
#pragma clang fp contract(off)
#endif
  return e * a + (1 - e) * b;
}
#endif

template <class T>
GANKIT_HD
    typename T::bits forward(typename T::bits real, typename T::bits fake, typename T::compute e) {
  return T::store(mixed(e, T::load(real), T::load(fake)));
}

// dL/dreal (weight e) or dL/dfake (weight 1 - e) from dL/dx. Linear: its own second derivative.
template <class T>
GANKIT_HD typename T::bits backward(typename T::bits grad, typename T::compute weight) {
  return T::store(T::load(grad) * weight);
}

}  // namespace gankit::interpolate
