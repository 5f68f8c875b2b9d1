// What both launchers derive from their tensor arguments, which were checked in Python.
#pragma once

#include <vector>

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
