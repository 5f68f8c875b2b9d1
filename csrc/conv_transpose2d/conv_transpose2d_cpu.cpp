// CPU entry of the fold of conv_transpose2d and its derivative.
#include "conv_transpose2d_cpu.h"

#include <torch/csrc/stable/library.h>

#include <optional>

#include "conv_transpose2d_tensors.h"

namespace gankit::conv_transpose2d {
namespace {

Tensor fold_op(const Tensor& columns, const std::optional<Tensor>& bias, Sizes input_size,
               Sizes output_size, Sizes kernel_size, Sizes stride, Sizes padding,
               int64_t activation, double negative_slope, bool channels_last) {
  check_fold(columns, bias, input_size, output_size, kernel_size, stride, padding, activation);
  const int64_t samples = columns.size(0);
  const int64_t channels = columns.size(1) / (kernel_size[0] * kernel_size[1]);
  Tensor y = new_image(columns, samples, channels, output_size, channels_last);
  if (y.numel() == 0) return y;
  const Geometry g =
      geometry_of(samples, channels, input_size, output_size, kernel_size, stride, padding);
  std::optional<Tensor> shift;
  if (bias.has_value()) shift = torch::stable::contiguous(*bias);
  dispatch_dtype(columns, "x", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    dispatch_activation(activation, [&](auto kind) {
      fold_cpu<T, decltype(kind)::value>(
          static_cast<const Bits*>(columns.const_data_ptr()), strides_of(columns),
          shift.has_value() ? static_cast<const Bits*>(shift->const_data_ptr()) : nullptr,
          static_cast<Bits*>(y.mutable_data_ptr()), strides_of(y), g, negative_slope);
    });
  });
  return y;
}

Tensor unfold_op(const Tensor& grad, const std::optional<Tensor>& y, Sizes input_size,
                 Sizes output_size, Sizes kernel_size, Sizes stride, Sizes padding,
                 int64_t activation, double negative_slope, bool channels_last) {
  check_unfold(grad, y, input_size, output_size, kernel_size, stride, padding, activation);
  const Geometry g = geometry_of(grad.size(0), grad.size(1), input_size, output_size, kernel_size,
                                 stride, padding);
  Tensor grad_columns = new_image(grad, g.samples, g.columns(), input_size, channels_last);
  if (grad_columns.numel() == 0) return grad_columns;
  const bool active = y.has_value();
  dispatch_dtype(grad, "grad", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    dispatch_activation(active ? activation : 0, [&](auto kind) {
      unfold_cpu<T, decltype(kind)::value>(
          static_cast<const Bits*>(grad.const_data_ptr()), strides_of(grad),
          active ? static_cast<const Bits*>(y->const_data_ptr()) : nullptr,
          active ? strides_of(*y) : Strides{}, static_cast<Bits*>(grad_columns.mutable_data_ptr()),
          strides_of(grad_columns), g, negative_slope);
    });
  });
  return grad_columns;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  m.impl("conv_transpose2d_fold", TORCH_BOX(&fold_op));
  m.impl("_conv_transpose2d_fold", TORCH_BOX(&fold_op));
  m.impl("conv_transpose2d_unfold", TORCH_BOX(&unfold_op));
  m.impl("_conv_transpose2d_unfold", TORCH_BOX(&unfold_op));
}

}  // namespace gankit::conv_transpose2d
