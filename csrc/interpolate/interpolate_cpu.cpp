// CPU entry of gankit::interpolate and its derivative.
#include "interpolate_cpu.h"

#include <torch/csrc/stable/library.h>

#include "../common/checks.h"
#include "../common/samples_of.h"

namespace gankit::interpolate {
namespace {

uint64_t key(const Tensor& seed) {
  return static_cast<uint64_t>(*static_cast<const int64_t*>(seed.const_data_ptr()));
}

Tensor forward_op(const Tensor& real, const Tensor& fake, const Tensor& seed, int64_t stream) {
  check_float("real", real);
  check_batch("real", real);
  check_like("fake", fake, "real", real);
  check_seed(seed, "real", real);
  Tensor out = new_like(real);
  const int64_t n = out.numel();
  if (n == 0) return out;
  const Tensor a = laid_out_like(real, out), b = laid_out_like(fake, out);
  dispatch_dtype(out, "real", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    forward_cpu<T>(static_cast<const Bits*>(a.const_data_ptr()),
                   static_cast<const Bits*>(b.const_data_ptr()),
                   static_cast<Bits*>(out.mutable_data_ptr()), n, samples_of(out), key(seed),
                   static_cast<uint64_t>(stream));
  });
  return out;
}

Tensor backward_op(const Tensor& grad, const Tensor& seed, int64_t stream, bool of_fake) {
  check_float("grad", grad);
  check_batch("grad", grad);
  check_seed(seed, "grad", grad);
  Tensor out = new_like(grad);
  const int64_t n = out.numel();
  if (n == 0) return out;
  const Tensor dense_grad = laid_out_like(grad, out);
  dispatch_dtype(out, "grad", [&](auto type) {
    using T = decltype(type);
    using Bits = typename T::bits;
    backward_cpu<T>(static_cast<const Bits*>(dense_grad.const_data_ptr()),
                    static_cast<Bits*>(out.mutable_data_ptr()), n, samples_of(out), key(seed),
                    static_cast<uint64_t>(stream), of_fake);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  m.impl("interpolate", TORCH_BOX(&forward_op));
  m.impl("_interpolate", TORCH_BOX(&forward_op));
  m.impl("interpolate_backward", TORCH_BOX(&backward_op));
  m.impl("_interpolate_backward", TORCH_BOX(&backward_op));
}

}  // namespace gankit::interpolate
