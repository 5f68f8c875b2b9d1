// CPU entry of gankit::leaky_relu_dropout and its derivatives. The Python function derives the
// factors.
#include "leaky_relu_dropout_cpu.h"

#include <torch/csrc/stable/library.h>

#include "../common/tensors.h"
#include "leaky_relu_dropout_channels.h"

namespace gankit::leaky_relu_dropout {
namespace {

// Calls f with the source of draws that `channelwise` asks for. `model` gives shape and layout.
template <class F>
void with_draws(const Tensor& model, const Tensor& seed, int64_t stream, bool channelwise,
                const F& f) {
  const auto key = static_cast<uint64_t>(*static_cast<const int64_t*>(seed.const_data_ptr()));
  const auto substream = static_cast<uint64_t>(stream);
  if (!channelwise) return f(ElementDraws{key, substream});
  const Channels channels = channels_of(model);
  const auto table = channel_table(channels, key, substream);
  f(ChannelDraws{table.get(), channels});
}

void run_forward(const Tensor& x, Tensor& y, const Tensor& seed, int64_t stream, int64_t threshold,
                 double scale, double negative_scale, bool channelwise) {
  const int64_t n = y.numel();
  if (n == 0) return;
  with_draws(y, seed, stream, channelwise, [&](const auto& draws) {
    dispatch_dtype(y, "x", [&](auto type) {
      using T = decltype(type);
      using Bits = typename T::bits;
      forward_cpu<T>(static_cast<const Bits*>(x.const_data_ptr()),
                     static_cast<Bits*>(y.mutable_data_ptr()), n, draws,
                     Factors<T>(threshold, scale, negative_scale));
    });
  });
}

Tensor forward_op(const Tensor& x, const Tensor& seed, int64_t stream, int64_t threshold,
                  double scale, double negative_scale, bool channelwise) {
  check_draws(x, seed, threshold, channelwise);
  Tensor y = new_like(x);
  run_forward(laid_out_like(x, y), y, seed, stream, threshold, scale, negative_scale, channelwise);
  return y;
}

void inplace_op(Tensor x, const Tensor& seed, int64_t stream, int64_t threshold, double scale,
                double negative_scale, bool channelwise) {
  check_draws(x, seed, threshold, channelwise);
  check_unshared("x", x);
  Tensor y = dense(x);
  run_forward(y, y, seed, stream, threshold, scale, negative_scale, channelwise);
  if (y.const_data_ptr() != x.const_data_ptr()) torch::stable::copy_(x, y);
}

Tensor backward_op(const Tensor& grad, const Tensor& y, double scale, double negative_scale) {
  check_float("y", y);
  check_like("grad", grad, "y", y);
  const Tensor dense_y = dense(y);
  Tensor grad_x = new_like(dense_y);
  const int64_t n = grad_x.numel();
  if (n == 0) return grad_x;
  const Tensor dense_grad = laid_out_like(grad, grad_x);
  dispatch_dtype(dense_y, "y", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    backward_cpu<T>(static_cast<const Bits*>(dense_grad.const_data_ptr()),
                    static_cast<const Bits*>(dense_y.const_data_ptr()),
                    static_cast<Bits*>(grad_x.mutable_data_ptr()), n,
                    Factors<T>(0, scale, negative_scale));
  });
  return grad_x;
}

Tensor backward_from_input_op(const Tensor& grad, const Tensor& x, const Tensor& seed,
                              int64_t stream, int64_t threshold, double scale,
                              double negative_scale, bool channelwise) {
  check_draws(x, seed, threshold, channelwise);
  check_like("grad", grad, "x", x);
  const Tensor dense_x = dense(x);
  Tensor grad_x = new_like(dense_x);
  const int64_t n = grad_x.numel();
  if (n == 0) return grad_x;
  const Tensor dense_grad = laid_out_like(grad, grad_x);
  with_draws(grad_x, seed, stream, channelwise, [&](const auto& draws) {
    dispatch_dtype(dense_x, "x", [&](auto type) {
      using T = decltype(type);
      using Bits = typename T::bits;
      backward_from_input_cpu<T>(static_cast<const Bits*>(dense_grad.const_data_ptr()),
                                 static_cast<const Bits*>(dense_x.const_data_ptr()),
                                 static_cast<Bits*>(grad_x.mutable_data_ptr()), n, draws,
                                 Factors<T>(threshold, scale, negative_scale));
    });
  });
  return grad_x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  // Twice: the public op gets its derivative in Python, the underscored one stays raw.
  m.impl("leaky_relu_dropout", TORCH_BOX(&forward_op));
  m.impl("_leaky_relu_dropout", TORCH_BOX(&forward_op));
  m.impl("_leaky_relu_dropout_", TORCH_BOX(&inplace_op));
  m.impl("leaky_relu_dropout_backward", TORCH_BOX(&backward_op));
  m.impl("_leaky_relu_dropout_backward", TORCH_BOX(&backward_op));
  m.impl("leaky_relu_dropout_backward_from_input", TORCH_BOX(&backward_from_input_op));
  m.impl("_leaky_relu_dropout_backward_from_input", TORCH_BOX(&backward_from_input_op));
}

}  // namespace gankit::leaky_relu_dropout
