// CUDA entry of gankit::leaky_relu_dropout and its derivatives. The Python function derives the
// factors.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include <torch/csrc/stable/library.h>

#include "../common/tensors.h"
#include "leaky_relu_dropout_channels.h"
#include "leaky_relu_dropout_cuda.h"

namespace gankit::leaky_relu_dropout {
namespace {

using torch::stable::accelerator::DeviceGuard;

const int64_t* key(const Tensor& seed) {
  return static_cast<const int64_t*>(seed.const_data_ptr());
}

void run_forward(const Tensor& x, Tensor& y, const Tensor& seed, int64_t stream, int64_t threshold,
                 double scale, double negative_scale, bool channelwise) {
  const int64_t n = y.numel();
  if (n == 0) return;
  const CudaLaunch launch = cuda_launch(y);
  const Channels channels = channelwise ? channels_of(y) : Channels{};
  dispatch_dtype(y, "x", [&](auto type) {
    using T = decltype(type);
    check_launch(
        "leaky_relu_dropout",
        forward_cuda<T>(x.const_data_ptr(), y.mutable_data_ptr(), n, key(seed), stream,
                        Factors<T>(threshold, scale, negative_scale),
                        channelwise ? &channels : nullptr, launch.multiprocessors, launch.stream));
  });
}

Tensor forward_op(const Tensor& x, const Tensor& seed, int64_t stream, int64_t threshold,
                  double scale, double negative_scale, bool channelwise) {
  check_draws(x, seed, threshold, channelwise);
  const DeviceGuard guard(x.get_device_index());
  Tensor y = new_like(x);
  run_forward(laid_out_like(x, y), y, seed, stream, threshold, scale, negative_scale, channelwise);
  return y;
}

void inplace_op(Tensor x, const Tensor& seed, int64_t stream, int64_t threshold, double scale,
                double negative_scale, bool channelwise) {
  check_draws(x, seed, threshold, channelwise);
  check_unshared("x", x);
  const DeviceGuard guard(x.get_device_index());
  Tensor y = dense(x);
  run_forward(y, y, seed, stream, threshold, scale, negative_scale, channelwise);
  if (y.const_data_ptr() != x.const_data_ptr()) torch::stable::copy_(x, y);
}

Tensor backward_op(const Tensor& grad, const Tensor& y, double scale, double negative_scale) {
  check_float("y", y);
  check_like("grad", grad, "y", y);
  const DeviceGuard guard(y.get_device_index());
  const Tensor dense_y = dense(y);
  Tensor grad_x = new_like(dense_y);
  const int64_t n = grad_x.numel();
  if (n == 0) return grad_x;
  const Tensor dense_grad = laid_out_like(grad, grad_x);
  const CudaLaunch launch = cuda_launch(dense_y);
  dispatch_dtype(dense_y, "y", [&](auto type) {
    using T = decltype(type);
    check_launch(
        "leaky_relu_dropout_backward",
        backward_cuda<T>(dense_grad.const_data_ptr(), dense_y.const_data_ptr(),
                         grad_x.mutable_data_ptr(), n, Factors<T>(0, scale, negative_scale),
                         launch.multiprocessors, launch.stream));
  });
  return grad_x;
}

Tensor backward_from_input_op(const Tensor& grad, const Tensor& x, const Tensor& seed,
                              int64_t stream, int64_t threshold, double scale,
                              double negative_scale, bool channelwise) {
  check_draws(x, seed, threshold, channelwise);
  check_like("grad", grad, "x", x);
  const DeviceGuard guard(x.get_device_index());
  const Tensor dense_x = dense(x);
  Tensor grad_x = new_like(dense_x);
  const int64_t n = grad_x.numel();
  if (n == 0) return grad_x;
  const Tensor dense_grad = laid_out_like(grad, grad_x);
  const CudaLaunch launch = cuda_launch(dense_x);
  const Channels channels = channelwise ? channels_of(dense_x) : Channels{};
  dispatch_dtype(dense_x, "x", [&](auto type) {
    using T = decltype(type);
    check_launch("leaky_relu_dropout_backward_from_input",
                 backward_from_input_cuda<T>(dense_grad.const_data_ptr(), dense_x.const_data_ptr(),
                                             grad_x.mutable_data_ptr(), n, key(seed), stream,
                                             Factors<T>(threshold, scale, negative_scale),
                                             channelwise ? &channels : nullptr,
                                             launch.multiprocessors, launch.stream));
  });
  return grad_x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  m.impl("leaky_relu_dropout", TORCH_BOX(&forward_op));
  m.impl("_leaky_relu_dropout", TORCH_BOX(&forward_op));
  m.impl("_leaky_relu_dropout_", TORCH_BOX(&inplace_op));
  m.impl("leaky_relu_dropout_backward", TORCH_BOX(&backward_op));
  m.impl("_leaky_relu_dropout_backward", TORCH_BOX(&backward_op));
  m.impl("leaky_relu_dropout_backward_from_input", TORCH_BOX(&backward_from_input_op));
  m.impl("_leaky_relu_dropout_backward_from_input", TORCH_BOX(&backward_from_input_op));
}

}  // namespace gankit::leaky_relu_dropout
