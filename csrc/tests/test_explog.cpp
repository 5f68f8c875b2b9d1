// exp, log and log1p of csrc/common/explog.h against libm in double precision, over float32 bit
// patterns at a stride that is prime, and over the ends of their ranges without a gap. Setting
// GANKIT_EXHAUSTIVE in the environment goes through every pattern.
#include "check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <vector>

#include "common/explog.h"

namespace {

using namespace gankit;

constexpr int64_t kBatch = 4096;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// As the kernels call them: inside a loop that is cloned and vectorised.
#define GANKIT_LOOP(name)                                                 \
  GANKIT_SIMD void name##_loop(const float* x, float* y, int64_t count) { \
    for (int64_t i = 0; i < count; ++i) y[i] = name(x[i]);                \
  }
GANKIT_LOOP(exp_nonpositive)
GANKIT_LOOP(log1p_unit)
GANKIT_LOOP(log_unit)
GANKIT_LOOP(log1p_negative)

// Distance in units in the last place of the float nearest to `exact`.
double ulps(float found, double exact) {
  if (std::isinf(exact) || std::isnan(exact)) {
    return static_cast<double>(found) == exact || (std::isnan(exact) && std::isnan(found)) ? 0
                                                                                           : 1e9;
  }
  int exponent = 0;
  std::frexp(exact, &exponent);  // in [2^(exponent - 1), 2^exponent)
  const int last = std::max(exponent - 24, -149);
  return std::abs(static_cast<double>(found) - exact) / std::ldexp(1.0, last);
}

using Loop = void (*)(const float*, float*, int64_t);
using Exact = double (*)(double);

// All patterns first, first + stride, ... up to last.
double worst(Loop loop, Exact exact, uint32_t first, uint32_t last, uint32_t stride) {
  std::vector<float> x(kBatch), y(kBatch);
  double most = 0;
  for (uint64_t at = first; at <= last;) {
    int64_t count = 0;
    for (; count < kBatch && at <= last; at += stride) {
      x[static_cast<size_t>(count++)] = bit_cast<float>(static_cast<uint32_t>(at));
    }
    loop(x.data(), y.data(), count);
    for (int64_t i = 0; i < count; ++i) {
      const auto k = static_cast<size_t>(i);
      most = std::max(most, ulps(y[k], exact(x[k])));
    }
  }
  return most;
}

void bounded(const char* name, Loop loop, Exact exact, uint32_t first, uint32_t last,
             double bound) {
  const uint32_t stride = std::getenv("GANKIT_EXHAUSTIVE") != nullptr ? 1 : 1009;
  const uint32_t edge = 1 << 16;
  double most = worst(loop, exact, first, last, stride);
  most = std::max(most, worst(loop, exact, first, first + edge, 1));
  most = std::max(most, worst(loop, exact, last - edge, last, 1));
  std::printf("%s: at most %.3f ulp, stated %.1f\n", name, most, bound);
  CHECK(most <= bound);
}

void not_a_number() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(exp_nonpositive(nan)));
  CHECK(std::isnan(log1p_unit(nan)));
  CHECK(std::isnan(log_unit(nan)));
  CHECK(std::isnan(log1p_negative(nan)));
  CHECK(exp_nonpositive(-kInfinity) == 0);
  CHECK(exp_nonpositive(std::nextafter(kLeastExponent, -kInfinity)) == 0);
  CHECK(exp_nonpositive(kLeastExponent) > 0);
  CHECK(exp_nonpositive(0.0f) == 1);
  CHECK(exp_nonpositive(-0.0f) == 1);
  CHECK(log1p_unit(0.0f) == 0);
  CHECK(log_unit(1.0f) == 0);
  CHECK(log_unit(0.0f) == -kInfinity);
  CHECK(log1p_negative(1.0f) == -kInfinity);
  CHECK(log1p_negative(0.0f) == 0);
}

}  // namespace

int main() {
  const uint32_t one = 0x3F800000u, negative = 0x80000000u;
  bounded(
      "exp_nonpositive", exp_nonpositive_loop, [](double x) { return std::exp(x); }, negative,
      bit_cast<uint32_t>(kLeastExponent), kUlpExp);
  bounded("log1p_unit", log1p_unit_loop, [](double x) { return std::log1p(x); }, 0, one, kUlpLog1p);
  bounded("log_unit", log_unit_loop, [](double x) { return std::log(x); }, 0, one, kUlpLog);
  bounded(
      "log1p_negative", log1p_negative_loop, [](double x) { return std::log1p(-x); }, 0, one,
      kUlpLog1pNegative);
  // Around one half and around the switch between mantissas.
  for (const uint32_t centre : {0x3F000000u, 0x3F3504F3u, 0x3E95F619u}) {
    CHECK(worst(
              log_unit_loop, [](double x) { return std::log(x); }, centre - 65536, centre + 65536,
              1) <= kUlpLog);
    CHECK(worst(
              log1p_negative_loop, [](double x) { return std::log1p(-x); }, centre - 65536,
              centre + 65536, 1) <= kUlpLog1pNegative);
  }
  not_a_number();
  return gankit_test::finish();
}
