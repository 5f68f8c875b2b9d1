// What both launchers of gan_bce check.
#pragma once

#include "../common/checks.h"

namespace gankit::gan_bce {

// What the kernels rely on; see common/checks.h. The halves may differ in shape.
inline void check_halves(const torch::stable::Tensor& real, const torch::stable::Tensor& fake) {
  check_float("real", real);
  check_same_dtype("fake", fake, "real", real);
  check_same_device("fake", fake, "real", real);
}

}  // namespace gankit::gan_bce
