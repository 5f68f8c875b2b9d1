// CPU entry of gankit::gan_bce and its derivative.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../bce_label_smoothing/bce_label_smoothing_cpu.h"
#include "../bce_label_smoothing/bce_label_smoothing_tensors.h"
#include "gan_bce_math.h"
#include "gan_bce_tensors.h"

namespace gankit::gan_bce {
namespace {

using namespace bce_label_smoothing;

template <class T>
const typename T::bits* bits_of(const Tensor& x) {
  return static_cast<const typename T::bits*>(x.const_data_ptr());
}

Tensor forward_op(const Tensor& real, const Tensor& fake, double real_label, double fake_label,
                  bool from_logits, bool joint) {
  check_halves(real, fake);
  const Tensor r = dense(real), f = dense(fake);
  Tensor y = torch::stable::new_empty(r, {});
  const Weights w = weights(r.numel(), f.numel(), joint);
  bool valid = true;
  dispatch_dtype(r, "real", [&](auto type) {
    using T = decltype(type);
    with_form(from_logits, [&](auto form) {
      using Form = decltype(form);
      const ScalarTarget none;
      const double sum_real =
          sum_cpu<T, Form>(bits_of<T>(r), none, Labels<T>(0.0, real_label), r.numel());
      const double sum_fake =
          sum_cpu<T, Form>(bits_of<T>(f), none, Labels<T>(0.0, fake_label), f.numel());
      valid = !std::isnan(sum_real + sum_fake);
      *static_cast<typename T::bits*>(y.mutable_data_ptr()) =
          T::store(static_cast<typename T::compute>(sum_real * w.real + sum_fake * w.fake));
    });
  });
  if (!from_logits) check_unit_interval(valid);
  return y;
}

Tensor half_gradient(const Tensor& grad, const Tensor& half, double label, double weight,
                     bool from_logits) {
  const Tensor x = dense(half);
  Tensor grad_x = new_like(x);
  dispatch_dtype(x, "real", [&](auto type) {
    using T = decltype(type);
    const double each = T::load(*bits_of<T>(grad)) * weight;
    with_form(from_logits, [&](auto form) {
      backward_cpu<T, decltype(form)>(bits_of<T>(x), ScalarTarget{},
                                      ScalarGrad<T>{static_cast<typename T::compute>(each)},
                                      static_cast<typename T::bits*>(grad_x.mutable_data_ptr()),
                                      Labels<T>(0.0, label), x.numel());
    });
  });
  return grad_x;
}

std::tuple<Tensor, Tensor> backward_op(const Tensor& grad, const Tensor& real, const Tensor& fake,
                                       double real_label, double fake_label, bool from_logits,
                                       bool joint) {
  check_halves(real, fake);
  check_scalar_like("grad", grad, "real", real);
  const Weights w = weights(real.numel(), fake.numel(), joint);
  return {half_gradient(grad, real, real_label, w.real, from_logits),
          half_gradient(grad, fake, fake_label, w.fake, from_logits)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  m.impl("gan_bce", TORCH_BOX(&forward_op));
  m.impl("_gan_bce", TORCH_BOX(&forward_op));
  m.impl("gan_bce_backward", TORCH_BOX(&backward_op));
  m.impl("_gan_bce_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::gan_bce
