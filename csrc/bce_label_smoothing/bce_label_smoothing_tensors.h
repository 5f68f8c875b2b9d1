// What the launchers of bce_label_smoothing and gan_bce share: from tensors to template arguments.
#pragma once

#include <cmath>
#include <limits>
#include <optional>

#include "../common/checks.h"
#include "../common/tensors.h"
#include "bce_label_smoothing_math.h"

namespace gankit::bce_label_smoothing {

// torch's own numbers, in torch/nn/_reduction.py.
enum Reduction : int64_t { kNone = 0, kMean = 1, kSum = 2 };

// What the sum of n losses is multiplied by. The mean of none is NaN, as torch has it.
inline double factor_of(int64_t reduction, int64_t n) {
  if (reduction != kMean) return 1.0;
  return n > 0 ? 1.0 / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
}

// Calls f(form).
template <class F>
void with_form(bool from_logits, const F& f) {
  if (from_logits) return f(Logits{});
  f(Probabilities{});
}

// Calls f(target). The tensor has the dtype T or bool, and the layout of the input.
template <class T, class F>
void with_target(const std::optional<Tensor>& target, const F& f) {
  if (!target.has_value()) return f(ScalarTarget{});
  const void* data = target->const_data_ptr();
  if (target->scalar_type() == ScalarType::Bool)
    return f(BoolTarget{static_cast<const uint8_t*>(data)});
  f(TensorTarget<T>{static_cast<const typename T::bits*>(data)});
}

// What the kernels rely on; see common/checks.h.
inline void check_arguments(const Tensor& input, const std::optional<Tensor>& target,
                            int64_t reduction) {
  check_float("input", input);
  check_number("reduction", reduction, kNone, kSum);
  if (!target.has_value()) return;
  if (target->scalar_type() != ScalarType::Bool)
    check_same_dtype("target", *target, "input", input);
  check_same_shape("target", *target, "input", input);
  check_same_device("target", *target, "input", input);
}

inline void check_gradient(const Tensor& grad, const Tensor& input, int64_t reduction) {
  if (reduction == kNone) return check_like("grad", grad, "input", input);
  check_scalar_like("grad", grad, "input", input);
}

inline std::optional<Tensor> target_like(const std::optional<Tensor>& target, const Tensor& x) {
  if (!target.has_value()) return std::nullopt;
  return laid_out_like(*target, x);
}

inline void check_unit_interval(bool valid) {
  STD_TORCH_CHECK(valid,
                  "input, target: expected probabilities between 0 and 1, got one outside or NaN");
}

}  // namespace gankit::bce_label_smoothing
