// tanh that vectorises: GCC calls no vector libm without -ffast-math. The float32 form is that of
// Moshier's Cephes library: a polynomial near zero, where 1 - 2 / (exp(2x) + 1) would cancel, and
// that quotient elsewhere. At most 2 ulp off (csrc/tests/test_tanh.cpp goes through it).
#pragma once

#include <cmath>
#include <cstdint>

#include "dtype.h"
#include "simd.h"

namespace gankit {

GANKIT_HD float tanh_of(float x) {
#if defined(__CUDA_ARCH__)
  return tanhf(x);
#else
  const float magnitude = bit_cast<float>(bit_cast<uint32_t>(x) & 0x7FFFFFFFu);
  const float clamped = magnitude > 10.0f ? 10.0f : magnitude;  // tanh(10) rounds to 1; NaN stays
  const float square = clamped * clamped;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const float near_zero = clamped + clamped * square * p;
  // e^t for 0 <= t <= 20: t = k ln 2 + rest, and 2^k by its exponent bits.
  const float t = clamped + clamped;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits; defined for NaN too.
  const float rounded = t * 1.44269504088896341f + 12582912.0f;
  const float k = rounded - 12582912.0f;
  const float rest = (t - k * 0.693359375f) + k * 2.12194440e-4f;
  float e = 1.9875691500e-4f;
  e = e * rest + 1.3981999507e-3f;
  e = e * rest + 8.3334519073e-3f;
  e = e * rest + 4.1665795894e-2f;
  e = e * rest + 1.6666665459e-1f;
  e = e * rest + 5.0000001201e-1f;
  e = e * (rest * rest) + rest + 1.0f;
  const uint32_t exponent = bit_cast<uint32_t>(rounded) - 0x4B400000u + 127u;
  const float far = 1.0f - 2.0f / (e * bit_cast<float>(exponent << 23) + 1.0f);
  // Chosen by bits: given a condition, the compiler branches around the costly side, and the loop
  // stays scalar.
  const uint32_t small = 0u - static_cast<uint32_t>(magnitude < 0.625f);
  const uint32_t chosen =
      (bit_cast<uint32_t>(near_zero) & small) | (bit_cast<uint32_t>(far) & ~small);
  return bit_cast<float>(chosen | (bit_cast<uint32_t>(x) & 0x80000000u));
#endif
}

GANKIT_HD double tanh_of(double x) {
  return ::tanh(x);
}

}  // namespace gankit
