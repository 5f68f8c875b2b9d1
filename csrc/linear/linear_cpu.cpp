// CPU entry of gankit::_linear_packed.
#include "linear_cpu.h"

#include <torch/csrc/stable/library.h>

#include <optional>

#include "../common/checks.h"
#include "../common/tensors.h"

namespace gankit::linear {
namespace {

constexpr int64_t kLeastPerThread = int64_t{1} << 19;  // multiplications: some microseconds of work

void check(const char* name, const Tensor& tensor, const Tensor& x, int64_t dim, int64_t size) {
  check_defined(name, tensor);
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float, name, ": expected dtype float32, got ",
                  torch::headeronly::toString(tensor.scalar_type()));
  STD_TORCH_CHECK(tensor.dim() == dim && tensor.size(dim - 1) == size, name, ": expected ", dim,
                  dim == 2 ? " dimensions, the last of size " : " dimension, of size ", size);
  check_same_device(name, tensor, "x", x);
}

Matrix matrix(const Tensor& tensor) {
  return {static_cast<const float*>(tensor.const_data_ptr()), tensor.stride(0), tensor.stride(1)};
}

// `tensor` itself if its rows or its columns lie in one piece each.
Tensor readable(const Tensor& tensor) {
  return tensor.stride(0) == 1 || tensor.stride(1) == 1 ? tensor
                                                        : torch::stable::contiguous(tensor);
}

Tensor linear_op(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  STD_TORCH_CHECK(has_kernel(), "gankit::_linear_packed: the processor has no AVX-512");
  check_defined("x", x);
  STD_TORCH_CHECK(x.dim() == 2, "x: expected 2 dimensions, got ", x.dim());
  const int64_t rows = x.size(0), inputs = x.size(1);
  check("x", x, x, 2, inputs);
  check("weight", weight, x, 2, inputs);
  const int64_t outputs = weight.size(0);
  std::optional<Tensor> shift;
  if (bias.has_value()) {
    check("bias", *bias, x, 1, outputs);
    shift = torch::stable::contiguous(*bias);
  }
  Tensor y = torch::stable::new_empty(x, {rows, outputs});
  if (y.numel() == 0) return y;
  const Tensor a = readable(x), b = readable(weight);
  const int64_t wanted = rows * inputs * outputs / kLeastPerThread;
  const int64_t threads = static_cast<int64_t>(torch::stable::get_num_threads());
  linear_cpu(matrix(a), matrix(b),
             shift.has_value() ? static_cast<const float*>(shift->const_data_ptr()) : nullptr,
             static_cast<float*>(y.mutable_data_ptr()), rows, inputs, outputs,
             std::clamp<int64_t>(wanted, 1, std::max<int64_t>(threads, 1)));
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  m.impl("_linear_packed", TORCH_BOX(&linear_op));
}

}  // namespace gankit::linear
