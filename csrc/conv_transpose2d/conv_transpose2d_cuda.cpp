// CUDA entry of the fold of conv_transpose2d and its derivative.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include <torch/csrc/stable/library.h>

#include <optional>

#include "conv_transpose2d_cuda.h"
#include "conv_transpose2d_tensors.h"

namespace gankit::conv_transpose2d {
namespace {

using torch::stable::accelerator::DeviceGuard;

Tensor fold_op(const Tensor& columns, const std::optional<Tensor>& bias, Sizes input_size,
               Sizes output_size, Sizes kernel_size, Sizes stride, Sizes padding,
               int64_t activation, double negative_slope, bool channels_last) {
  check_fold(columns, bias, input_size, output_size, kernel_size, stride, padding, activation);
  const DeviceGuard guard(columns.get_device_index());
  const int64_t samples = columns.size(0);
  const int64_t channels = columns.size(1) / (kernel_size[0] * kernel_size[1]);
  Tensor y = new_image(columns, samples, channels, output_size, channels_last);
  if (y.numel() == 0) return y;
  const Geometry g =
      geometry_of(samples, channels, input_size, output_size, kernel_size, stride, padding);
  std::optional<Tensor> shift;
  if (bias.has_value()) shift = torch::stable::contiguous(*bias);
  const CudaLaunch launch = cuda_launch(columns);
  dispatch_dtype(columns, "x", [&](auto type) {
    dispatch_activation(activation, [&](auto kind) {
      check_launch("conv_transpose2d_fold",
                   fold_cuda<decltype(type), decltype(kind)::value>(
                       columns.const_data_ptr(), strides_of(columns),
                       shift.has_value() ? shift->const_data_ptr() : nullptr, y.mutable_data_ptr(),
                       channels_last, g, negative_slope, launch.multiprocessors, launch.stream));
    });
  });
  return y;
}

Tensor unfold_op(const Tensor& grad, const std::optional<Tensor>& y, Sizes input_size,
                 Sizes output_size, Sizes kernel_size, Sizes stride, Sizes padding,
                 int64_t activation, double negative_slope, bool channels_last) {
  check_unfold(grad, y, input_size, output_size, kernel_size, stride, padding, activation);
  const DeviceGuard guard(grad.get_device_index());
  const Geometry g = geometry_of(grad.size(0), grad.size(1), input_size, output_size, kernel_size,
                                 stride, padding);
  Tensor grad_columns = new_image(grad, g.samples, g.columns(), input_size, channels_last);
  if (grad_columns.numel() == 0) return grad_columns;
  const bool active = y.has_value();
  const CudaLaunch launch = cuda_launch(grad);
  dispatch_dtype(grad, "grad", [&](auto type) {
    dispatch_activation(active ? activation : 0, [&](auto kind) {
      check_launch(
          "conv_transpose2d_unfold",
          unfold_cuda<decltype(type), decltype(kind)::value>(
              grad.const_data_ptr(), strides_of(grad), active ? y->const_data_ptr() : nullptr,
              active ? strides_of(*y) : Strides{}, grad_columns.mutable_data_ptr(), channels_last,
              g, negative_slope, launch.multiprocessors, launch.stream));
    });
  });
  return grad_columns;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  m.impl("conv_transpose2d_fold", TORCH_BOX(&fold_op));
  m.impl("_conv_transpose2d_fold", TORCH_BOX(&fold_op));
  m.impl("conv_transpose2d_unfold", TORCH_BOX(&unfold_op));
  m.impl("_conv_transpose2d_unfold", TORCH_BOX(&unfold_op));
}

}  // namespace gankit::conv_transpose2d
