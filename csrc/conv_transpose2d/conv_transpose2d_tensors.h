// What both launchers check of their arguments and derive from them.
#pragma once

#include <optional>
#include <vector>

#include "../common/checks.h"
#include "../common/tensors.h"
#include "conv_transpose2d_math.h"

namespace gankit::conv_transpose2d {

using Sizes = std::vector<int64_t>;

inline Strides strides_of(const Tensor& x) {
  const auto strides = x.strides();
  return {strides[0], strides[1], strides[2], strides[3]};
}

inline Geometry geometry_of(int64_t samples, int64_t channels, const Sizes& input_size,
                            const Sizes& output_size, const Sizes& kernel_size, const Sizes& stride,
                            const Sizes& padding) {
  return {samples,        channels,       input_size[0],  input_size[1],
          output_size[0], output_size[1], kernel_size[0], kernel_size[1],
          stride[0],      stride[1],      padding[0],     padding[1]};
}

// Below this no product of settings overflows.
constexpr int64_t kSettingLimit = int64_t{1} << 16;

inline void check_pair(const char* name, const Sizes& pair, int64_t least) {
  STD_TORCH_CHECK(pair.size() == 2, name, ": expected two numbers, got ", pair.size());
  for (const int64_t value : pair) {
    STD_TORCH_CHECK(value >= least && value < kSettingLimit, name, ": expected numbers from ",
                    least, " to ", kSettingLimit - 1, ", got ", value);
  }
}

// `image` is the tensor that lies at `size`, the other size must follow from it by some output
// padding.
inline void check_geometry(const char* name, const Tensor& image, const char* size_name,
                           const Sizes& size, const Sizes& input_size, const Sizes& output_size,
                           const Sizes& kernel_size, const Sizes& stride, const Sizes& padding,
                           int64_t activation) {
  check_float(name, image);
  STD_TORCH_CHECK(image.dim() == 4, name, ": expected four dimensions, got ", image.dim());
  STD_TORCH_CHECK(input_size.size() == 2, "input_size: expected two numbers, got ",
                  input_size.size());
  STD_TORCH_CHECK(output_size.size() == 2, "output_size: expected two numbers, got ",
                  output_size.size());
  check_pair("kernel_size", kernel_size, 1);
  check_pair("stride", stride, 1);
  check_pair("padding", padding, 0);
  for (int d = 0; d < 2; ++d) {
    STD_TORCH_CHECK(image.size(2 + d) == size[d], name, ": expected ", size_name, " ", size[d],
                    " in dimension ", 2 + d, ", got ", image.size(2 + d));
    // With the sizes checked first, the sum below cannot overflow.
    STD_TORCH_CHECK(input_size[d] >= 1 && input_size[d] < int64_t{1} << 46,
                    "input_size: expected positive numbers, got ", input_size[d]);
    const int64_t least = (input_size[d] - 1) * stride[d] - 2 * padding[d] + kernel_size[d];
    STD_TORCH_CHECK(
        output_size[d] >= 1 && output_size[d] >= least && output_size[d] < least + stride[d],
        "output_size: expected a positive number from ", least, " to ", least + stride[d] - 1,
        " in dimension ", 2 + d, ", got ", output_size[d]);
  }
  check_number("activation", activation, 0, 3);
}

inline void check_fold(const Tensor& columns, const std::optional<Tensor>& bias,
                       const Sizes& input_size, const Sizes& output_size, const Sizes& kernel_size,
                       const Sizes& stride, const Sizes& padding, int64_t activation) {
  check_geometry("columns", columns, "input_size", input_size, input_size, output_size, kernel_size,
                 stride, padding, activation);
  const int64_t area = kernel_size[0] * kernel_size[1];
  STD_TORCH_CHECK(columns.size(1) % area == 0, "columns: expected a multiple of ", area,
                  " channels, got ", columns.size(1));
  if (!bias.has_value()) return;
  check_same_dtype("bias", *bias, "columns", columns);
  STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == columns.size(1) / area,
                  "bias: expected shape (", columns.size(1) / area, ",), got ", bias->numel(),
                  " elements in ", bias->dim(), " dimensions");
  check_same_device("bias", *bias, "columns", columns);
}

inline void check_unfold(const Tensor& grad, const std::optional<Tensor>& y,
                         const Sizes& input_size, const Sizes& output_size,
                         const Sizes& kernel_size, const Sizes& stride, const Sizes& padding,
                         int64_t activation) {
  check_geometry("grad", grad, "output_size", output_size, input_size, output_size, kernel_size,
                 stride, padding, activation);
  if (y.has_value()) check_like("y", *y, "grad", grad);
}

// An uninitialised [samples, channels, height, width] tensor of the dtype and device of `model`.
inline Tensor new_image(const Tensor& model, int64_t samples, int64_t channels, const Sizes& size,
                        bool channels_last) {
  const int64_t sizes[4] = {samples, channels, size[0], size[1]};
  const int64_t area = size[0] * size[1];
  const int64_t planes[4] = {channels * area, area, size[1], 1};
  const int64_t pixels[4] = {channels * area, 1, size[1] * channels, channels};
  int32_t dtype = 0, device_type = 0, device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(model.get(), &dtype));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(model.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(model.get(), &device_index));
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(4, sizes, channels_last ? pixels : planes, dtype,
                                                  device_type, device_index, &handle));
  return Tensor(handle);
}

}  // namespace gankit::conv_transpose2d
