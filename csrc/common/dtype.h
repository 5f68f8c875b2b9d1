// Element types as storage bits plus a compute type.
//
// Kernels of gankit work on the bits that lie in memory, because the mask contract of
// leaky_relu_dropout is stated on bits (a sign bit, an all-zero pattern), and because the two
// 16-bit types then need no library type. All conversions round to nearest, ties to even.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace gankit {

template <class To, class From>
GANKIT_HD To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs types of one size");
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

struct Float64 {
  using bits = uint64_t;
  using compute = double;
  static constexpr bits kSign = 0x8000000000000000ull;
  static GANKIT_HD compute load(bits b) { return bit_cast<double>(b); }
  static GANKIT_HD bits store(compute v) { return bit_cast<uint64_t>(v); }
};

struct Float32 {
  using bits = uint32_t;
  using compute = float;
  static constexpr bits kSign = 0x80000000u;
  static GANKIT_HD compute load(bits b) { return bit_cast<float>(b); }
  static GANKIT_HD bits store(compute v) { return bit_cast<uint32_t>(v); }
};

struct BFloat16 {
  using bits = uint16_t;
  using compute = float;
  static constexpr bits kSign = 0x8000u;
  static GANKIT_HD compute load(bits b) { return bit_cast<float>(static_cast<uint32_t>(b) << 16); }
  static GANKIT_HD bits store(compute v) {
#if defined(__CUDA_ARCH__)
    return __bfloat16_as_ushort(__float2bfloat16_rn(v));
#else
    const uint32_t u = bit_cast<uint32_t>(v);
    const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
    // Adding the rounding bias could carry a NaN into infinity: force a quiet NaN instead.
    const uint32_t quiet = (u >> 16) | 0x0040u;
    return static_cast<bits>((u & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
#endif
  }
};

struct Float16 {
  using bits = uint16_t;
  using compute = float;
  static constexpr bits kSign = 0x8000u;
  static GANKIT_HD compute load(bits b) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(b));
#else
    // Exponent and mantissa land in float position; multiplying by 2^112 rebiases the exponent and
    // normalises subnormals in one exact step. Infinity and NaN keep the largest exponent.
    const uint32_t sign = (static_cast<uint32_t>(b) & 0x8000u) << 16;
    const uint32_t rest = (static_cast<uint32_t>(b) & 0x7FFFu) << 13;
    const uint32_t finite = bit_cast<uint32_t>(bit_cast<float>(rest) * 0x1p112f);
    const uint32_t special = rest | 0x7F800000u;
    return bit_cast<float>(sign | (rest >= 0x0F800000u ? special : finite));
#endif
  }
  static GANKIT_HD bits store(compute v) {
#if defined(__CUDA_ARCH__)
    return __half_as_ushort(__float2half_rn(v));
#else
    const uint32_t u = bit_cast<uint32_t>(v);
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7FFFFFFFu;
    // Normal range: rebias, then round the 13 dropped bits to nearest even. A carry out of the
    // largest finite value gives infinity, as it should.
    const uint32_t odd = (magnitude >> 13) & 1u;
    const uint32_t normal = (magnitude - 0x38000000u + 0xFFFu + odd) >> 13;
    // Subnormal range: adding 0.5 puts the unit of the last place of a half (2^-24) at the last
    // mantissa bit of the float, so the float adder does the rounding.
    const uint32_t subnormal = bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
    uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
    result = magnitude >= 0x47800000u ? 0x7C00u : result;
    result = magnitude > 0x7F800000u ? 0x7E00u | ((magnitude >> 13) & 0x3FFu) : result;
    return static_cast<bits>(sign | result);
#endif
  }
};

}  // namespace gankit
