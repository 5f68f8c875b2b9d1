// Tensors of batch_norm_act as the kernels see them, for both launchers.
#pragma once

#include <optional>

#include "../common/tensors.h"
#include "batch_norm_act_math.h"

namespace gankit::batch_norm_act {

// Whether the channels lie innermost and the other dimensions are in order.
inline bool channels_innermost(const Tensor& x) {
  const auto sizes = x.sizes(), strides = x.strides();
  int64_t expected = sizes[1];
  if (sizes[1] != 1 && strides[1] != 1) return false;
  for (size_t d = sizes.size(); d-- > 0;) {
    if (d == 1 || sizes[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

// The dtype of x, and that of the statistics and parameters that belong to it, as the shim has them.
inline int32_t dtype_of(const Tensor& x) {
  int32_t dtype = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(x.get(), &dtype));
  return dtype;
}

inline int32_t compute_dtype_of(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? aoti_torch_dtype_float64()
                                               : aoti_torch_dtype_float32();
}

// An uninitialised contiguous tensor on the device of `x`.
inline Tensor new_contiguous(const Tensor& x, const std::vector<int64_t>& sizes, int32_t dtype) {
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    strides[d] = step;
    step *= std::max<int64_t>(sizes[d], 1);
  }
  int32_t device_type = 0, device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(x.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(x.get(), &device_index));
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(), dtype, device_type,
      device_index, &handle));
  return Tensor(handle);
}

// An uninitialised result: channels last if x is, else contiguous.
inline Tensor result_like(const Tensor& x) {
  if (x.is_contiguous() || channels_innermost(x)) return new_like(x);
  const auto sizes = x.sizes();
  return new_contiguous(x, {sizes.begin(), sizes.end()}, dtype_of(x));
}

// `model` is a result of result_like.
inline Geometry geometry_of(const Tensor& model, int64_t groups) {
  const auto sizes = model.sizes();
  int64_t positions = 1;
  for (size_t d = 2; d < sizes.size(); ++d) positions *= sizes[d];
  return {groups, sizes[0] / groups, sizes[1], positions,
          positions == 1 || !model.is_contiguous()};
}

inline Tensor new_statistic(const Tensor& x, int64_t groups) {
  return new_contiguous(x, {groups, x.size(1)}, compute_dtype_of(x));
}

// One statistic or parameter, or none, in the compute type and in one stretch of memory.
class __attribute__((visibility("hidden"))) Vector {
 public:
  Vector(const Tensor& x, const char* name, const std::optional<Tensor>& value) {
    if (!value.has_value()) return;
    STD_TORCH_CHECK(dtype_of(*value) == compute_dtype_of(x), name,
                    ": expected x's compute type (float64 for float64, else float32)");
    STD_TORCH_CHECK(value->dim() > 0 && value->numel() % x.size(1) == 0, name, ": expected ",
                    x.size(1), " channels, got ", value->numel(), " values");
    held_ = value->is_contiguous() ? *value : torch::stable::contiguous(*value);
  }

  template <class Compute>
  const Compute* data() const {
    return held_.has_value() ? static_cast<const Compute*>(held_->const_data_ptr()) : nullptr;
  }

 private:
  std::optional<Tensor> held_;
};

// How many groups the statistics are for.
inline int64_t groups_of(const Tensor& x, const Tensor& mean) {
  return x.size(1) == 0 ? 1 : std::max<int64_t>(mean.numel() / x.size(1), 1);
}

// Calls f with the activation as a compile-time constant.
template <class F>
inline void dispatch_activation(int64_t activation, const F& f) {
  switch (static_cast<Activation>(activation)) {
    case Activation::kNone:
      return f(std::integral_constant<Activation, Activation::kNone>{});
    case Activation::kRelu:
      return f(std::integral_constant<Activation, Activation::kRelu>{});
    case Activation::kLeakyRelu:
      return f(std::integral_constant<Activation, Activation::kLeakyRelu>{});
    case Activation::kTanh:
      return f(std::integral_constant<Activation, Activation::kTanh>{});
  }
  STD_TORCH_CHECK(false, "activation: expected 0 to 3, got ", activation);
}

}  // namespace gankit::batch_norm_act
