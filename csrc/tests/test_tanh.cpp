// tanh_of against the C library in double precision, over all exponents of float32.
#include "check.h"

#include <cmath>
#include <limits>

#include "common/tanh.h"

namespace {

// Units in the last place of the correctly rounded result.
double ulps(float found, double wanted) {
  const float rounded = static_cast<float>(wanted);
  const float next = std::nextafter(std::fabs(rounded), 2.0f);
  return std::fabs(static_cast<double>(found) - wanted) /
         (static_cast<double>(next) - std::fabs(static_cast<double>(rounded)));
}

}  // namespace

int main() {
  double worst = 0;
  for (uint64_t bits = 0; bits < 0x7F800000u; bits += 997) {
    const float x = gankit::bit_cast<float>(static_cast<uint32_t>(bits));
    const float y = gankit::tanh_of(x);
    CHECK_AT(gankit::tanh_of(-x) == -y, bits);
    CHECK_AT(std::fabs(y) <= 1.0f, bits);
    worst = std::fmax(worst, ulps(y, std::tanh(static_cast<double>(x))));
  }
  std::printf("tanh: %.2f ulp at most\n", worst);
  CHECK(worst <= 2);
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(gankit::tanh_of(infinity) == 1.0f);
  CHECK(gankit::tanh_of(-infinity) == -1.0f);
  CHECK(std::isnan(gankit::tanh_of(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::signbit(gankit::tanh_of(-0.0f)));
  CHECK(!std::signbit(gankit::tanh_of(0.0f)));
  CHECK(gankit::tanh_of(0.5) == std::tanh(0.5));
  return gankit_test::finish();
}
