// CUDA entry of gankit::interpolate and its derivative.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include <torch/csrc/stable/library.h>

#include "../common/checks.h"
#include "../common/samples_of.h"
#include "interpolate_cuda.h"

namespace gankit::interpolate {
namespace {

using torch::stable::accelerator::DeviceGuard;

const int64_t* key(const Tensor& seed) {
  return static_cast<const int64_t*>(seed.const_data_ptr());
}

Tensor forward_op(const Tensor& real, const Tensor& fake, const Tensor& seed, int64_t stream) {
  check_float("real", real);
  check_batch("real", real);
  check_like("fake", fake, "real", real);
  check_seed(seed, "real", real);
  const DeviceGuard guard(real.get_device_index());
  Tensor out = new_like(real);
  const int64_t n = out.numel();
  if (n == 0) return out;
  const Tensor a = laid_out_like(real, out), b = laid_out_like(fake, out);
  const CudaLaunch launch = cuda_launch(out);
  dispatch_dtype(out, "real", [&](auto type) {
    using T = decltype(type);
    check_launch(
        "interpolate",
        forward_cuda<T>(a.const_data_ptr(), b.const_data_ptr(), out.mutable_data_ptr(), n,
                        samples_of(out), key(seed), stream, launch.multiprocessors, launch.stream));
  });
  return out;
}

Tensor backward_op(const Tensor& grad, const Tensor& seed, int64_t stream, bool of_fake) {
  check_float("grad", grad);
  check_batch("grad", grad);
  check_seed(seed, "grad", grad);
  const DeviceGuard guard(grad.get_device_index());
  Tensor out = new_like(grad);
  const int64_t n = out.numel();
  if (n == 0) return out;
  const Tensor dense_grad = laid_out_like(grad, out);
  const CudaLaunch launch = cuda_launch(out);
  dispatch_dtype(out, "grad", [&](auto type) {
    using T = decltype(type);
    check_launch(
        "interpolate_backward",
        backward_cuda<T>(dense_grad.const_data_ptr(), out.mutable_data_ptr(), n, samples_of(out),
                         key(seed), stream, of_fake, launch.multiprocessors, launch.stream));
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  m.impl("interpolate", TORCH_BOX(&forward_op));
  m.impl("_interpolate", TORCH_BOX(&forward_op));
  m.impl("interpolate_backward", TORCH_BOX(&backward_op));
  m.impl("_interpolate_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::interpolate
