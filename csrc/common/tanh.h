// tanh that vectorises: GCC calls no vector libm without -ffast-math. The float32 form is that of
// Moshier's Cephes library: a polynomial near zero, where 1 - 2 / (exp(2x) + 1) would cancel, and
// that quotient elsewhere. At most 3 ulp off (csrc/tests/test_tanh.cpp goes through it).
#pragma once

#include <cmath>
#include <cstdint>

#include "dtype.h"
#include "simd.h"

namespace gankit {

GANKIT_HD float tanh_of(float x) {
  const float magnitude = bit_cast<float>(bit_cast<uint32_t>(x) & 0x7FFFFFFFu);
  const float square = magnitude * magnitude;
  float near = -5.70498872745e-3f;
  near = near * square + 2.06390887954e-2f;
  near = near * square - 5.37397155531e-2f;
  near = near * square + 1.33314422036e-1f;
  near = near * square - 3.33332819422e-1f;
  near = near * square * magnitude + magnitude;

  // From 9.02 on the result rounds to 1; a NaN takes the bound too and is put back at the end.
  const float bounded = magnitude < 9.1f ? magnitude : 9.1f;
  // exp(2 bounded) = 2^n exp(r); adding 1.5 * 2^23 rounds to an integer and leaves it in the bits.
  const float shifted = bounded * 2.88539008177793f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (2.0f * bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float e = 1.9875691500e-4f;
  e = e * r + 1.3981999507e-3f;
  e = e * r + 8.3334519073e-3f;
  e = e * r + 4.1665795894e-2f;
  e = e * r + 1.6666665459e-1f;
  e = e * r + 5.0000001201e-1f;
  e = e * r * r + r + 1.0f;
  const uint32_t exponent = (bit_cast<uint32_t>(shifted) - 0x4B400000u + 127u) << 23;
  const float far = 1.0f - 2.0f / (e * bit_cast<float>(exponent) + 1.0f);
  const float positive = magnitude < 0.625f ? near : far;
  const float result =
      bit_cast<float>(bit_cast<uint32_t>(positive) | (bit_cast<uint32_t>(x) & 0x80000000u));
  return x != x ? x : result;
}

GANKIT_HD double tanh_of(double x) {
  return ::tanh(x);
}

}  // namespace gankit
