// The discriminator's loss on two batches: the formulas are those of bce_label_smoothing, here
// stands how the two sums are weighted.
#pragma once

#include <cstdint>
#include <limits>

#include "../bce_label_smoothing/bce_label_smoothing_math.h"

namespace gankit::gan_bce {

// result = real * (sum over the real half) + fake * (sum over the generated half).
struct Weights {
  double real, fake;
};

// `joint`: one mean over both halves; else the sum of their means. The mean of nothing is NaN.
inline Weights weights(int64_t real, int64_t fake, bool joint) {
  const auto inverse = [](int64_t n) {
    return n > 0 ? 1.0 / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
  };
  if (joint) return {inverse(real + fake), inverse(real + fake)};
  return {inverse(real), inverse(fake)};
}

}  // namespace gankit::gan_bce
