// CPU entry of gankit::grad_norm_penalty and its derivative.
#include "grad_norm_penalty_cpu.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "grad_norm_penalty_tensors.h"

namespace gankit::grad_norm_penalty {
namespace {

std::tuple<Tensor, Tensor> forward_op(const Tensor& grad, double target, int64_t mode) {
  check_grad(grad, mode);
  const int64_t rows = grad.sizes()[0];
  Tensor penalty = new_beside(grad, {}, false);
  Tensor norms = new_beside(grad, {rows}, true);
  const Tensor lined_up = in_rows(grad);
  dispatch_dtype(grad, "grad", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    auto* results = static_cast<typename T::compute*>(norms.mutable_data_ptr());
    norms_cpu<T>(static_cast<const Bits*>(lined_up.const_data_ptr()), results, rows,
                 rows == 0 ? 0 : grad.numel() / rows);
    *static_cast<Bits*>(penalty.mutable_data_ptr()) = mean_penalty<T>(results, rows, target, mode);
  });
  return {penalty, norms};
}

Tensor backward_op(const Tensor& upstream, const Tensor& grad, const Tensor& norms, double target,
                   int64_t mode) {
  check_grad(grad, mode);
  check_saved(upstream, grad, norms);
  Tensor out = new_like(grad);
  const int64_t n = out.numel();
  if (n == 0) return out;
  const Tensor dense_grad = laid_out_like(grad, out);
  const Tensor lined_up_norms = torch::stable::contiguous(norms);
  dispatch_dtype(out, "grad", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    backward_cpu<T>(*static_cast<const Bits*>(upstream.const_data_ptr()),
                    static_cast<const Bits*>(dense_grad.const_data_ptr()),
                    static_cast<const typename T::compute*>(lined_up_norms.const_data_ptr()),
                    static_cast<Bits*>(out.mutable_data_ptr()), n, samples_of(out), target, mode);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  m.impl("grad_norm_penalty", TORCH_BOX(&forward_op));
  m.impl("_grad_norm_penalty", TORCH_BOX(&forward_op));
  m.impl("grad_norm_penalty_backward", TORCH_BOX(&backward_op));
  m.impl("_grad_norm_penalty_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::grad_norm_penalty
