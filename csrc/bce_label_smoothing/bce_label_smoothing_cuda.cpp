// CUDA entry of gankit::bce_label_smoothing and its derivative.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include <torch/csrc/stable/library.h>

#include "bce_label_smoothing_cuda.h"
#include "bce_label_smoothing_tensors.h"

namespace gankit::bce_label_smoothing {
namespace {

using torch::stable::accelerator::DeviceGuard;

Tensor forward_op(const Tensor& input, std::optional<Tensor> target, double scale, double shift,
                  bool from_logits, int64_t reduction) {
  check_arguments(input, target, reduction);
  const DeviceGuard guard(input.get_device_index());
  const Tensor x = dense(input);
  const std::optional<Tensor> t = target_like(target, x);
  const int64_t n = x.numel();
  Tensor y = reduction == kNone ? new_like(input) : torch::stable::new_empty(x, {});
  if (reduction == kNone && n == 0) return y;
  const CudaLaunch launch = cuda_launch(x);
  // Also for n = 0, where one block writes the sum of nothing.
  const int blocks = sum_blocks(n, launch.multiprocessors);
  Tensor sums = torch::stable::new_empty(x, {reduction == kNone ? 0 : blocks}, ScalarType::Double);
  dispatch_dtype(x, "input", [&](auto type) {
    using T = decltype(type);
    const Labels<T> labels(scale, shift);
    with_form(from_logits, [&](auto form) {
      with_target<T>(t, [&](const auto& labelled) {
        using Form = decltype(form);
        using Target = std::decay_t<decltype(labelled)>;
        if (reduction == kNone) {
          check_launch(
              "bce_label_smoothing",
              each_cuda<T, Form, Target>(x.const_data_ptr(), labelled, y.mutable_data_ptr(), n,
                                         labels, launch.multiprocessors, launch.stream));
          return;
        }
        check_launch("bce_label_smoothing",
                     sum_cuda<T, Form, Target>(x.const_data_ptr(), labelled, y.mutable_data_ptr(),
                                               static_cast<double*>(sums.mutable_data_ptr()), n,
                                               labels, factor_of(reduction, n),
                                               launch.multiprocessors, launch.stream));
      });
    });
  });
  return y;
}

Tensor backward_op(const Tensor& grad, const Tensor& input, std::optional<Tensor> target,
                   double scale, double shift, bool from_logits, int64_t reduction) {
  check_arguments(input, target, reduction);
  check_gradient(grad, input, reduction);
  const DeviceGuard guard(input.get_device_index());
  const Tensor x = dense(input);
  const std::optional<Tensor> t = target_like(target, x);
  Tensor grad_x = new_like(x);
  const int64_t n = x.numel();
  if (n == 0) return grad_x;
  const Tensor g = reduction == kNone ? laid_out_like(grad, grad_x) : grad;
  const CudaLaunch launch = cuda_launch(x);
  dispatch_dtype(x, "input", [&](auto type) {
    using T = decltype(type);
    const Labels<T> labels(scale, shift);
    with_form(from_logits, [&](auto form) {
      with_target<T>(t, [&](const auto& labelled) {
        using Form = decltype(form);
        using Target = std::decay_t<decltype(labelled)>;
        if (reduction == kNone) {
          check_launch(
              "bce_label_smoothing_backward",
              backward_each_cuda<T, Form, Target>(g.const_data_ptr(), x.const_data_ptr(), labelled,
                                                  grad_x.mutable_data_ptr(), n, labels,
                                                  launch.multiprocessors, launch.stream));
          return;
        }
        check_launch("bce_label_smoothing_backward",
                     backward_shared_cuda<T, Form, Target>(g.const_data_ptr(), x.const_data_ptr(),
                                                           labelled, grad_x.mutable_data_ptr(), n,
                                                           labels, factor_of(reduction, n),
                                                           launch.multiprocessors, launch.stream));
      });
    });
  });
  return grad_x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  m.impl("bce_label_smoothing", TORCH_BOX(&forward_op));
  m.impl("_bce_label_smoothing", TORCH_BOX(&forward_op));
  m.impl("bce_label_smoothing_backward", TORCH_BOX(&backward_op));
  m.impl("_bce_label_smoothing_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::bce_label_smoothing
