// What the stable ABI leaves out: memory layouts, and the dispatch over element types.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dtype.h"

namespace gankit {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Whether walking both tensors in the memory order of `a` visits the same elements. Strides of
// dimensions of size one say nothing and are passed over.
inline bool same_layout(const Tensor& a, const Tensor& b) {
  const auto sizes_a = a.sizes(), sizes_b = b.sizes();
  const auto strides_a = a.strides(), strides_b = b.strides();
  if (sizes_a.size() != sizes_b.size()) return false;
  for (size_t d = 0; d < sizes_a.size(); ++d) {
    if (sizes_a[d] != sizes_b[d]) return false;
    if (sizes_a[d] != 1 && strides_a[d] != strides_b[d]) return false;
  }
  return true;
}

// Whether the elements fill one stretch of memory exactly once, in any order of the dimensions.
inline bool is_dense(const Tensor& x) {
  if (x.is_contiguous()) return true;
  const auto sizes = x.sizes(), strides = x.strides();
  std::vector<size_t> order;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != 1) order.push_back(d);
  }
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return strides[a] < strides[b]; });
  int64_t expected = 1;
  for (const size_t d : order) {
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

// torch.empty_like(x). Dense tensors, the usual case, go past the dispatcher, whose look-up by name
// takes longer than a small kernel.
inline Tensor new_like(const Tensor& x) {
  if (!is_dense(x)) return torch::stable::empty_like(x);
  const auto sizes = x.sizes(), strides = x.strides();
  int32_t dtype = 0, device_type = 0, device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(x.get(), &dtype));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(x.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(x.get(), &device_index));
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                  strides.data(), dtype, device_type, device_index,
                                                  &handle));
  return Tensor(handle);
}

// `x` itself if it already lies like `model`, else a copy that does. `model` must be dense, as the
// result of empty_like always is.
inline Tensor laid_out_like(const Tensor& x, const Tensor& model) {
  if (same_layout(x, model)) return x;
  Tensor copy = new_like(model);
  torch::stable::copy_(copy, x);
  return copy;
}

// A dense tensor with the elements of `x`: `x` itself unless it is sliced, expanded or overlapping.
inline Tensor dense(const Tensor& x) {
  return is_dense(x) ? x : laid_out_like(x, torch::stable::empty_like(x));
}

// Calls f with the element type's tag. `name` is the argument that the error speaks of.
template <class F>
inline void dispatch_dtype(const Tensor& x, const char* name, const F& f) {
  switch (x.scalar_type()) {
    case ScalarType::Double:
      return f(Float64{});
    case ScalarType::Float:
      return f(Float32{});
    case ScalarType::BFloat16:
      return f(BFloat16{});
    case ScalarType::Half:
      return f(Float16{});
    default:
      STD_TORCH_CHECK(false, name, ": expected dtype float64, float32, bfloat16 or float16, got ",
                      torch::headeronly::toString(x.scalar_type()));
  }
}

}  // namespace gankit
