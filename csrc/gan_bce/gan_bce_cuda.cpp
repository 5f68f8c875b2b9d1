// CUDA entry of gankit::gan_bce and its derivative.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../bce_label_smoothing/bce_label_smoothing_tensors.h"
#include "gan_bce_cuda.h"
#include "gan_bce_tensors.h"

namespace gankit::gan_bce {
namespace {

using bce_label_smoothing::with_form;
using torch::stable::accelerator::DeviceGuard;

template <class T>
Half<T> half_of(const Tensor& x, double label, double weight) {
  return {static_cast<const typename T::bits*>(x.const_data_ptr()), x.numel(),
          Labels<T>(0.0, label), weight};
}

Tensor forward_op(const Tensor& real, const Tensor& fake, double real_label, double fake_label,
                  bool from_logits, bool joint) {
  check_halves(real, fake);
  const DeviceGuard guard(real.get_device_index());
  const Tensor r = dense(real), f = dense(fake);
  Tensor y = torch::stable::new_empty(r, {});
  const Weights w = weights(r.numel(), f.numel(), joint);
  const CudaLaunch launch = cuda_launch(r);
  const int blocks = sum_blocks(r.numel(), f.numel(), launch.multiprocessors);
  Tensor sums = torch::stable::new_empty(r, {blocks}, ScalarType::Double);
  dispatch_dtype(r, "real", [&](auto type) {
    using T = decltype(type);
    with_form(from_logits, [&](auto form) {
      check_launch("gan_bce",
                   forward_cuda<T, decltype(form)>(
                       half_of<T>(r, real_label, w.real), half_of<T>(f, fake_label, w.fake),
                       y.mutable_data_ptr(), static_cast<double*>(sums.mutable_data_ptr()),
                       launch.multiprocessors, launch.stream));
    });
  });
  return y;
}

std::tuple<Tensor, Tensor> backward_op(const Tensor& grad, const Tensor& real, const Tensor& fake,
                                       double real_label, double fake_label, bool from_logits,
                                       bool joint) {
  check_halves(real, fake);
  check_scalar_like("grad", grad, "real", real);
  const DeviceGuard guard(real.get_device_index());
  const Tensor r = dense(real), f = dense(fake);
  Tensor grad_real = new_like(r), grad_fake = new_like(f);
  const Weights w = weights(r.numel(), f.numel(), joint);
  const CudaLaunch launch = cuda_launch(r);
  dispatch_dtype(r, "real", [&](auto type) {
    using T = decltype(type);
    with_form(from_logits, [&](auto form) {
      check_launch("gan_bce_backward",
                   backward_cuda<T, decltype(form)>(
                       grad.const_data_ptr(), half_of<T>(r, real_label, w.real),
                       half_of<T>(f, fake_label, w.fake), grad_real.mutable_data_ptr(),
                       grad_fake.mutable_data_ptr(), launch.multiprocessors, launch.stream));
    });
  });
  return {grad_real, grad_fake};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  m.impl("gan_bce", TORCH_BOX(&forward_op));
  m.impl("_gan_bce", TORCH_BOX(&forward_op));
  m.impl("gan_bce_backward", TORCH_BOX(&backward_op));
  m.impl("_gan_bce_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::gan_bce
