// The tensors of grad_norm_penalty, for both launchers.
#pragma once

#include "../common/samples_of.h"

namespace gankit::grad_norm_penalty {

// A contiguous tensor on grad's device, of its dtype or of the type it is computed in.
inline Tensor new_beside(const Tensor& grad, const std::vector<int64_t>& sizes, bool compute_type) {
  int32_t dtype = 0, device_type = 0, device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(grad.get(), &dtype));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(grad.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(grad.get(), &device_index));
  if (compute_type && dtype != aoti_torch_dtype_float64()) dtype = aoti_torch_dtype_float32();
  const std::vector<int64_t> strides(sizes.size(), 1);
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                  strides.data(), dtype, device_type, device_index,
                                                  &handle));
  return Tensor(handle);
}

// `grad` with the elements of each sample in one stretch and the samples in order: itself if it
// lies so already (contiguous, channels_last), else a contiguous copy.
inline Tensor in_rows(const Tensor& grad) {
  if (grad.numel() == 0 || grad.is_contiguous()) return grad;
  const Samples samples = samples_of(grad);
  const bool outermost = samples.stride * samples.count == grad.numel() || samples.count == 1;
  return outermost && is_dense(grad) ? grad : torch::stable::contiguous(grad);
}

}  // namespace gankit::grad_norm_penalty
