// exp, log and log1p on the ranges that losses need, free of branches and calls, so that a loop
// over them vectorises without -ffast-math. Polynomials: near-minimax in relative error, fitted for
// float32. Largest errors over all float32 arguments, found by csrc/tests/test_explog.cpp, in units
// in the last place (with and without fused multiply-add): see kUlp*. NaN stays NaN. The double
// overloads are libm's.
#pragma once

#include <cmath>
#include <cstdint>

#include "dtype.h"
#include "simd.h"

namespace gankit {

// Stated and tested bounds.
constexpr double kUlpExp = 1.5;            // exp_nonpositive on [kLeastExponent, 0]
constexpr double kUlpLog1p = 2.0;          // log1p_unit on [0, 1]
constexpr double kUlpLog = 1.0;            // log_unit on [0, 1]
constexpr double kUlpLog1pNegative = 1.0;  // log1p_negative on [0, 1]

// Below this exp(x) is less than the smallest normal number, and zero here.
constexpr float kLeastExponent = -87.33654f;

// exp(x) for x <= 0.
GANKIT_HD float exp_nonpositive(float x) {
  const bool vanishes = x < kLeastExponent;
  const float clamped = vanishes ? kLeastExponent : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits, from where a
  // shift brings it into the exponent and pushes all else out.
  const float shifted = clamped * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float power = bit_cast<float>((bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u);
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 0.001395172206684947f;
  p = p * r + 0.00836960133165121f;
  p = p * r + 0.0416661873459816f;
  p = p * r + 0.16666512191295624f;
  p = p * r + 0.5f;
  p = (p * (r * r) + r) + 1.0f;
  return vanishes ? 0.0f : p * power;
}

// log(1 + e) for e in [0, 1].
GANKIT_HD float log1p_unit(float e) {
  float p = -0.003244020976126194f;
  p = p * e + 0.01985144428908825f;
  p = p * e + -0.056959498673677444f;
  p = p * e + 0.10603651404380798f;
  p = p * e + -0.15305590629577637f;
  p = p * e + 0.1967593878507614f;
  p = p * e + -0.24954134225845337f;
  p = p * e + 0.3332996368408203f;
  p = p * e + -0.4999990165233612f;
  return p * (e * e) + e;
}

// The k for which v / 2^k lies in [sqrt(1/2), sqrt(2)). v is a positive normal number.
GANKIT_HD int32_t log_exponent(float v) {
  return static_cast<int32_t>(bit_cast<uint32_t>(v) - 0x3F3504F3u) >> 23;
}

GANKIT_HD float log_mantissa(float v, int32_t k) {
  return bit_cast<float>(bit_cast<uint32_t>(v) - (static_cast<uint32_t>(k) << 23));
}

// log(2^k (1 + f)) for 1 + f in [sqrt(1/2), sqrt(2)).
GANKIT_HD float log_of_parts(float k, float f) {
  const float z = f * f;
  float p = 0.06915460526943207f;
  p = p * f + -0.117899090051651f;
  p = p * f + 0.11872988194227219f;
  p = p * f + -0.12384332716464996f;
  p = p * f + 0.14218655228614807f;
  p = p * f + -0.16669251024723053f;
  p = p * f + 0.20002226531505585f;
  p = p * f + -0.24999986588954926f;
  p = p * f + 0.3333331048488617f;
  const float low = k * -2.12194440e-4f + (p * f * z - 0.5f * z);
  return (f + low) + k * 0.693359375f;
}

GANKIT_HD float minus_infinity_at_zero(float v, float otherwise, float value) {
  return v > 0.0f ? value : (v == 0.0f ? -bit_cast<float>(0x7F800000u) : otherwise);
}

// log(v) for v in [0, 1].
GANKIT_HD float log_unit(float v) {
  const bool subnormal = v < 0x1p-126f;
  const float normal = subnormal ? v * 0x1p23f : v;
  const int32_t k = log_exponent(normal);
  const float exponent = static_cast<float>(k) - (subnormal ? 23.0f : 0.0f);
  return minus_infinity_at_zero(v, v, log_of_parts(exponent, log_mantissa(normal, k) - 1.0f));
}

// log(1 - p) for p in [0, 1]. 1 - p rounds, but what it has over a power of two does not where p
// is at most one half: -p and 1 - 2p.
GANKIT_HD float log1p_negative(float p) {
  const float v = 1.0f - p;
  const int32_t k = log_exponent(v);
  const float f = k == 0 ? -p : (k == -1 ? 1.0f - 2.0f * p : log_mantissa(v, k) - 1.0f);
  return minus_infinity_at_zero(v, p, log_of_parts(static_cast<float>(k), f));
}

GANKIT_HD double exp_nonpositive(double x) {
  return ::exp(x);
}
GANKIT_HD double log1p_unit(double e) {
  return ::log1p(e);
}
GANKIT_HD double log_unit(double v) {
  return ::log(v);
}
GANKIT_HD double log1p_negative(double p) {
  return ::log1p(-p);
}

}  // namespace gankit
