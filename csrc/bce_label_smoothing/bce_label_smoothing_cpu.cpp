// CPU entry of gankit::bce_label_smoothing and its derivative.
#include "bce_label_smoothing_cpu.h"

#include <torch/csrc/stable/library.h>

#include "bce_label_smoothing_tensors.h"

namespace gankit::bce_label_smoothing {
namespace {

Tensor forward_op(const Tensor& input, std::optional<Tensor> target, double scale, double shift,
                  bool from_logits, int64_t reduction) {
  check_arguments(input, target, reduction);
  const Tensor x = dense(input);
  const std::optional<Tensor> t = target_like(target, x);
  const int64_t n = x.numel();
  Tensor y = reduction == kNone ? new_like(input) : torch::stable::new_empty(x, {});
  bool valid = true;
  dispatch_dtype(x, "input", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    const auto* data = static_cast<const Bits*>(x.const_data_ptr());
    auto* out = static_cast<Bits*>(y.mutable_data_ptr());
    const Labels<T> labels(scale, shift);
    with_form(from_logits, [&](auto form) {
      with_target<T>(t, [&](const auto& labelled) {
        using Form = decltype(form);
        if (reduction == kNone) {
          valid = each_cpu<T, Form>(data, labelled, out, labels, n);
          return;
        }
        const double sum = sum_cpu<T, Form>(data, labelled, labels, n);
        valid = !std::isnan(sum);
        *out = T::store(static_cast<typename T::compute>(sum * factor_of(reduction, n)));
      });
    });
  });
  if (!from_logits) check_unit_interval(valid);
  return y;
}

Tensor backward_op(const Tensor& grad, const Tensor& input, std::optional<Tensor> target,
                   double scale, double shift, bool from_logits, int64_t reduction) {
  check_arguments(input, target, reduction);
  check_gradient(grad, input, reduction);
  const Tensor x = dense(input);
  const std::optional<Tensor> t = target_like(target, x);
  Tensor grad_x = new_like(x);
  const int64_t n = x.numel();
  if (n == 0) return grad_x;
  const Tensor g = reduction == kNone ? laid_out_like(grad, grad_x) : grad;
  dispatch_dtype(x, "input", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    const auto* data = static_cast<const Bits*>(x.const_data_ptr());
    const auto* grads = static_cast<const Bits*>(g.const_data_ptr());
    auto* out = static_cast<Bits*>(grad_x.mutable_data_ptr());
    const Labels<T> labels(scale, shift);
    with_form(from_logits, [&](auto form) {
      with_target<T>(t, [&](const auto& labelled) {
        using Form = decltype(form);
        if (reduction == kNone) {
          return backward_cpu<T, Form>(data, labelled, TensorGrad<T>{grads}, out, labels, n);
        }
        const double each = T::load(*grads) * factor_of(reduction, n);
        const ScalarGrad<T> shared{static_cast<typename T::compute>(each)};
        backward_cpu<T, Form>(data, labelled, shared, out, labels, n);
      });
    });
  });
  return grad_x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  m.impl("bce_label_smoothing", TORCH_BOX(&forward_op));
  m.impl("_bce_label_smoothing", TORCH_BOX(&forward_op));
  m.impl("bce_label_smoothing_backward", TORCH_BOX(&backward_op));
  m.impl("_bce_label_smoothing_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::bce_label_smoothing
