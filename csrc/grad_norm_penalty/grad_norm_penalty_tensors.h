// The tensors of grad_norm_penalty, for both launchers.
#pragma once

#include "../common/checks.h"
#include "../common/samples_of.h"
#include "grad_norm_penalty_math.h"

namespace gankit::grad_norm_penalty {

// What the kernels rely on; see common/checks.h.
inline void check_grad(const Tensor& grad, int64_t mode) {
  check_float("grad", grad);
  check_batch("grad", grad);
  check_number("mode", mode, kTwoSided, kZeroCentred);
}

inline void check_saved(const Tensor& upstream, const Tensor& grad, const Tensor& norms) {
  check_scalar_like("upstream", upstream, "grad", grad);
  check_defined("norms", norms);
  const ScalarType wide =
      grad.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(norms.scalar_type() == wide, "norms: expected dtype ",
                  torch::headeronly::toString(wide), " for grad's, got ",
                  torch::headeronly::toString(norms.scalar_type()));
  STD_TORCH_CHECK(norms.dim() == 1 && norms.size(0) == grad.size(0), "norms: expected shape (",
                  grad.size(0), ",), one norm per sample of grad, got ", norms.numel(),
                  " elements in ", norms.dim(), " dimensions");
  check_same_device("norms", norms, "grad", grad);
}

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
