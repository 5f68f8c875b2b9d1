// Checks for callers of the dispatcher ops. The Python functions have checked already, with better
// messages; here a mistake must not reach memory that is not ours.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>

namespace gankit {

// The dispatcher hands on an undefined tensor for None, also where the schema asks for a tensor.
inline void check_defined(const char* name, const torch::stable::Tensor& tensor) {
  STD_TORCH_CHECK(tensor.defined(), name, ": expected a tensor, got None");
}

// One of the dtypes that the kernels are compiled for.
inline void check_float(const char* name, const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  check_defined(name, tensor);
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Double || type == ScalarType::Float ||
                      type == ScalarType::BFloat16 || type == ScalarType::Half,
                  name, ": expected dtype float64, float32, bfloat16 or float16, got ",
                  torch::headeronly::toString(type));
}

inline void check_same_dtype(const char* name, const torch::stable::Tensor& tensor,
                             const char* model_name, const torch::stable::Tensor& model) {
  check_defined(name, tensor);
  STD_TORCH_CHECK(tensor.scalar_type() == model.scalar_type(), name, ": expected the dtype of ",
                  model_name, ", ", torch::headeronly::toString(model.scalar_type()), ", got ",
                  torch::headeronly::toString(tensor.scalar_type()));
}

// An enumeration, or another number that a kernel branches on.
inline void check_number(const char* name, int64_t value, int64_t least, int64_t most) {
  STD_TORCH_CHECK(least <= value && value <= most, name, ": expected ", least, " to ", most,
                  ", got ", value);
}

inline void check_batch(const char* name, const torch::stable::Tensor& tensor) {
  STD_TORCH_CHECK(tensor.dim() >= 1, name,
                  ": expected a batch [N, ...], got a tensor without dimensions");
}

// A tensor that a kernel writes to: each element has memory of its own.
inline void check_unshared(const char* name, const torch::stable::Tensor& tensor) {
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  for (size_t d = 0; d < sizes.size(); ++d) {
    STD_TORCH_CHECK(tensor.numel() == 0 || sizes[d] == 1 || strides[d] != 0, name,
                    ": expected a tensor to write to, got an expanded one, of which several "
                    "elements share memory");
  }
}

inline void check_same_device(const char* name, const torch::stable::Tensor& tensor,
                              const char* model_name, const torch::stable::Tensor& model) {
  int32_t type = 0, model_type = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(tensor.get(), &type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(model.get(), &model_type));
  STD_TORCH_CHECK(type == model_type && tensor.get_device_index() == model.get_device_index(), name,
                  ": expected a tensor on the device of ", model_name);
}

// The key of the random stream: one int64 on the device of `model`.
inline void check_seed(const torch::stable::Tensor& seed, const char* model_name,
                       const torch::stable::Tensor& model) {
  check_defined("seed", seed);
  STD_TORCH_CHECK(seed.scalar_type() == torch::headeronly::ScalarType::Long,
                  "seed: expected dtype int64, got ",
                  torch::headeronly::toString(seed.scalar_type()));
  STD_TORCH_CHECK(seed.numel() == 1, "seed: expected one element, got ", seed.numel());
  check_same_device("seed", seed, model_name, model);
}

inline void check_same_shape(const char* name, const torch::stable::Tensor& tensor,
                             const char* model_name, const torch::stable::Tensor& model) {
  const auto sizes = tensor.sizes(), model_sizes = model.sizes();
  bool same = sizes.size() == model_sizes.size();
  for (size_t d = 0; same && d < sizes.size(); ++d) same = sizes[d] == model_sizes[d];
  STD_TORCH_CHECK(same, name, ": expected the shape of ", model_name);
}

// A gradient, or another tensor that is walked together with `model`.
inline void check_like(const char* name, const torch::stable::Tensor& tensor,
                       const char* model_name, const torch::stable::Tensor& model) {
  check_same_dtype(name, tensor, model_name, model);
  check_same_shape(name, tensor, model_name, model);
  check_same_device(name, tensor, model_name, model);
}

// The gradient of a result of one element.
inline void check_scalar_like(const char* name, const torch::stable::Tensor& tensor,
                              const char* model_name, const torch::stable::Tensor& model) {
  check_same_dtype(name, tensor, model_name, model);
  STD_TORCH_CHECK(tensor.numel() == 1, name, ": expected one element, got ", tensor.numel());
  check_same_device(name, tensor, model_name, model);
}

}  // namespace gankit
