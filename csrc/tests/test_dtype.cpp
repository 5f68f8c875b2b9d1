// The conversions of csrc/common/dtype.h: every 16-bit pattern, and rounding to nearest even.
#include "check.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "common/dtype.h"

namespace {

using gankit::BFloat16;
using gankit::bit_cast;
using gankit::Float16;
using gankit::Float32;
using gankit::Float64;

// The value of a small float format, from its definition.
double decode(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

template <class T>
void every_pattern(int exponent_bits, int mantissa_bits) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const double expected = decode(bits, exponent_bits, mantissa_bits);
    const float loaded = T::load(bits);
    if (std::isnan(expected)) {
      CHECK_AT(std::isnan(loaded), i);
      CHECK_AT(std::isnan(T::load(T::store(loaded))), i);
    } else {
      CHECK_AT(static_cast<double>(loaded) == expected, i);
      CHECK_AT(std::signbit(loaded) == ((bits & 0x8000) != 0), i);
      CHECK_AT(T::store(loaded) == bits, i);
    }
  }
}

// Between two neighbours, the middle goes to the even one and anything off it to the nearer one.
template <class T>
void rounding(uint16_t largest_finite) {
  for (uint16_t low = 0; low < largest_finite; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    const double a = T::load(low), b = T::load(high);
    const auto middle = static_cast<float>((a + b) / 2);       // exact: one bit more than a and b
    if (static_cast<double>(middle) != (a + b) / 2) continue;  // below float's own subnormals
    CHECK_AT(T::store(middle) == (low & 1 ? high : low), low);
    CHECK_AT(T::store(std::nextafter(middle, INFINITY)) == high, low);
    CHECK_AT(T::store(std::nextafter(middle, 0.0f)) == low, low);
    CHECK_AT(T::store(-middle) == static_cast<uint16_t>(0x8000 | (low & 1 ? high : low)), low);
  }
}

template <class T>
void overflow(uint16_t largest_finite) {
  const auto infinity = static_cast<uint16_t>(largest_finite + 1);
  const double step = T::load(largest_finite) - T::load(static_cast<uint16_t>(largest_finite - 1));
  const auto limit = static_cast<float>(T::load(largest_finite) + step / 2);
  CHECK(T::store(limit) == infinity);
  CHECK(T::store(std::nextafter(limit, 0.0f)) == largest_finite);
  CHECK(T::store(INFINITY) == infinity);
  CHECK(T::store(-INFINITY) == static_cast<uint16_t>(0x8000 | infinity));
}

// NaNs whose payload lies in the bits that are cut off must not become infinity.
template <class T>
void nan_payloads() {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    CHECK_AT(std::isnan(T::load(T::store(bit_cast<float>(bits)))), bits);
  }
}

void wide_types_keep_their_bits() {
  for (const double value : {0.0, -0.0, 1.5, -1e300, double(INFINITY)}) {
    CHECK(bit_cast<uint64_t>(Float64::load(Float64::store(value))) == bit_cast<uint64_t>(value));
    const auto narrow = static_cast<float>(value > 1e38 || value < -1e38 ? 3.0 : value);
    CHECK(bit_cast<uint32_t>(Float32::load(Float32::store(narrow))) == bit_cast<uint32_t>(narrow));
  }
}

}  // namespace

int main() {
  every_pattern<Float16>(5, 10);
  every_pattern<BFloat16>(8, 7);
  rounding<Float16>(0x7bff);
  rounding<BFloat16>(0x7f7f);
  overflow<Float16>(0x7bff);
  overflow<BFloat16>(0x7f7f);
  nan_payloads<Float16>();
  nan_payloads<BFloat16>();
  wide_types_keep_their_bits();
  return gankit_test::finish();
}
