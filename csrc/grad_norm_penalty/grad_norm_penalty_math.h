// Penalties on the norm of a gradient: the only place the formulas stand in C++.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/dtype.h"
#include "../common/simd.h"

namespace gankit::grad_norm_penalty {

enum Mode : int64_t { kTwoSided = 0, kOneSided = 1, kZeroCentred = 2 };

// The penalty of one sample whose gradient has this norm.
template <class Compute>
GANKIT_HD Compute penalty(Compute norm, Compute target, int64_t mode) {
  if (mode == kZeroCentred) return norm * norm;
  const Compute excess = norm - target;
  // Comparing this way round keeps NaN.
  return mode == kOneSided && excess < 0 ? Compute(0) : excess * excess;
}

// What the gradient is multiplied by in the derivative: 2 (norm - target) / norm and kin. At norm
// 0, where the norm has no derivative, zero is a subgradient.
template <class Compute>
GANKIT_HD Compute factor(Compute norm, Compute target, int64_t mode) {
  if (mode == kZeroCentred) return 2;
  if (norm == 0 || (mode == kOneSided && norm < target)) return 0;
  return 2 * ((norm - target) / norm);
}

}  // namespace gankit::grad_norm_penalty
