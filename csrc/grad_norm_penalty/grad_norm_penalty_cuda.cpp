// CUDA entry of gankit::grad_norm_penalty and its derivative.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "grad_norm_penalty_cuda.h"
#include "grad_norm_penalty_tensors.h"

namespace gankit::grad_norm_penalty {
namespace {

using torch::stable::accelerator::DeviceGuard;

std::tuple<Tensor, Tensor> forward_op(const Tensor& grad, double target, int64_t mode) {
  check_grad(grad, mode);
  const DeviceGuard guard(grad.get_device_index());
  const int64_t rows = grad.sizes()[0];
  Tensor penalty = new_beside(grad, {}, false);
  Tensor norms = new_beside(grad, {rows}, true);
  const Tensor lined_up = in_rows(grad);
  const CudaLaunch launch = cuda_launch(grad);
  dispatch_dtype(grad, "grad", [&](auto type) {
    using T = decltype(type);
    check_launch(
        "grad_norm_penalty",
        forward_cuda<T>(lined_up.const_data_ptr(), norms.mutable_data_ptr(),
                        penalty.mutable_data_ptr(), rows, rows == 0 ? 0 : grad.numel() / rows,
                        target, mode, launch.multiprocessors, launch.stream));
  });
  return {penalty, norms};
}

Tensor backward_op(const Tensor& upstream, const Tensor& grad, const Tensor& norms, double target,
                   int64_t mode) {
  check_grad(grad, mode);
  check_saved(upstream, grad, norms);
  const DeviceGuard guard(grad.get_device_index());
  Tensor out = new_like(grad);
  const int64_t n = out.numel();
  if (n == 0) return out;
  const Tensor dense_grad = laid_out_like(grad, out);
  const Tensor lined_up_norms = torch::stable::contiguous(norms);
  const CudaLaunch launch = cuda_launch(grad);
  dispatch_dtype(out, "grad", [&](auto type) {
    using T = decltype(type);
    check_launch(
        "grad_norm_penalty_backward",
        backward_cuda<T>(upstream.const_data_ptr(), dense_grad.const_data_ptr(),
                         lined_up_norms.const_data_ptr(), out.mutable_data_ptr(), n,
                         samples_of(out), target, mode, launch.multiprocessors, launch.stream));
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  m.impl("grad_norm_penalty", TORCH_BOX(&forward_op));
  m.impl("_grad_norm_penalty", TORCH_BOX(&forward_op));
  m.impl("grad_norm_penalty_backward", TORCH_BOX(&backward_op));
  m.impl("_grad_norm_penalty_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::grad_norm_penalty
