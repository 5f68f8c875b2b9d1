// Checks for callers of the dispatcher ops. The Python functions have checked already, with better
// messages; here a mistake must not reach memory that is not ours.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>

namespace gankit {

inline void check_same_device(const char* name, const torch::stable::Tensor& tensor,
                              const char* model_name, const torch::stable::Tensor& model) {
  int32_t type = 0, model_type = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(tensor.get(), &type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(model.get(), &model_type));
  STD_TORCH_CHECK(type == model_type && tensor.get_device_index() == model.get_device_index(), name,
                  ": expected a tensor on the device of ", model_name);
}

// The key of the random stream: one int64 on the device of x.
inline void check_seed(const torch::stable::Tensor& seed, const torch::stable::Tensor& x) {
  STD_TORCH_CHECK(seed.scalar_type() == torch::headeronly::ScalarType::Long,
                  "seed: expected dtype int64, got ",
                  torch::headeronly::toString(seed.scalar_type()));
  STD_TORCH_CHECK(seed.numel() == 1, "seed: expected one element, got ", seed.numel());
  check_same_device("seed", seed, "x", x);
}

// A gradient, or another tensor that is walked together with `model`.
inline void check_like(const char* name, const torch::stable::Tensor& tensor,
                       const char* model_name, const torch::stable::Tensor& model) {
  STD_TORCH_CHECK(tensor.scalar_type() == model.scalar_type(), name, ": expected the dtype of ",
                  model_name, ", ", torch::headeronly::toString(model.scalar_type()), ", got ",
                  torch::headeronly::toString(tensor.scalar_type()));
  const auto sizes = tensor.sizes(), model_sizes = model.sizes();
  bool same = sizes.size() == model_sizes.size();
  for (size_t d = 0; same && d < sizes.size(); ++d) same = sizes[d] == model_sizes[d];
  STD_TORCH_CHECK(same, name, ": expected the shape of ", model_name);
  check_same_device(name, tensor, model_name, model);
}

}  // namespace gankit
