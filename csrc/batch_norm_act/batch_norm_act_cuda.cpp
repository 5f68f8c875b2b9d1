// CUDA entry of gankit::batch_norm_act and its derivative.
#include "../common/cuda_launch.h"  // first: it opens the CUDA part of the shim

#include "batch_norm_act_cuda.h"
#include "batch_norm_act_ops.h"

namespace gankit::batch_norm_act {
namespace {

template <class Compute>
Compute* values(Tensor& x) {
  return static_cast<Compute*>(x.mutable_data_ptr());
}

Tensor new_bytes(const Tensor& x, int64_t bytes) {
  return new_contiguous(x, {bytes}, aoti_torch_dtype_uint8());
}

// Calls f with the element type's tag and the launch, for tensors that are not empty.
template <class F>
void launch(const Tensor& x, const char* name, const F& f) {
  const CudaLaunch where = cuda_launch(x);
  dispatch_dtype(x, "x", [&](auto type) { check_launch(name, f(type, where)); });
}

struct Cuda {
  struct Guard {
    torch::stable::accelerator::DeviceGuard device;
    explicit Guard(const Tensor& x) : device(x.get_device_index()) {}
  };

  static void statistics(const Tensor& x, const Tensor& model, int64_t groups, Tensor& mean,
                         Tensor& var) {
    if (mean.numel() == 0) return;
    const Geometry g = geometry_of(model, groups);
    launch(x, "batch_norm_act_statistics", [&](auto type, const CudaLaunch& where) {
      using T = decltype(type);
      using Compute = typename T::compute;
      Tensor table = new_bytes(x, table_bytes<Compute>(g));
      return statistics_cuda<T>(x.const_data_ptr(), g, table.mutable_data_ptr(),
                                values<Compute>(mean), values<Compute>(var), where.stream);
    });
  }

  static void apply(const Tensor& x, Tensor& y, int64_t slices, const Vectors& vectors,
                    const Settings& settings) {
    if (y.numel() == 0) return;
    const Geometry g = geometry_of(y, slices);
    launch(x, "batch_norm_act_apply", [&](auto type, const CudaLaunch& where) {
      using T = decltype(type);
      using Compute = typename T::compute;
      Tensor arrays = new_contiguous(x, {6 * array_length(g)}, compute_dtype_of(x));
      return apply_cuda<T>(x.const_data_ptr(), y.mutable_data_ptr(), g,
                           vectors.inputs<Compute>(settings),
                           static_cast<Activation>(settings.activation), values<Compute>(arrays),
                           where.multiprocessors, where.stream);
    });
  }

  static bool sums(const Tensor& grad, const Tensor& x, const Tensor& model, int64_t slices,
                   const Vectors& vectors, const Settings& settings, Tensor& sum_h, Tensor& sum_hx,
                   Tensor*) {
    if (sum_h.numel() == 0) return false;
    const Geometry g = geometry_of(model, slices);
    launch(x, "batch_norm_act_sums", [&](auto type, const CudaLaunch& where) {
      using T = decltype(type);
      using Compute = typename T::compute;
      Tensor table = new_bytes(x, table_bytes<Compute>(g));
      return sums_cuda<T>(grad.const_data_ptr(), x.const_data_ptr(), g,
                          vectors.inputs<Compute>(settings),
                          static_cast<Activation>(settings.activation), table.mutable_data_ptr(),
                          values<Compute>(sum_h), values<Compute>(sum_hx), where.stream);
    });
    return false;
  }

  static void finish_sums(const SumTensors& tensors, int64_t slices, const Geometry& g) {
    if (tensors.sum_h.numel() == 0) return;
    launch(tensors.sum_h, "batch_norm_act_sums", [&](auto type, const CudaLaunch& where) {
      using Compute = typename decltype(type)::compute;
      return finish_sums_cuda<Compute>(tensors.of<Compute>(slices, g), where.stream);
    });
  }

  static void grad_input(const Tensor& grad, const Tensor& x, Tensor& grad_x, int64_t slices,
                         const Vectors& vectors, const Settings& settings) {
    if (grad_x.numel() == 0) return;
    const Geometry g = geometry_of(grad_x, slices);
    launch(x, "batch_norm_act_grad_input", [&](auto type, const CudaLaunch& where) {
      using T = decltype(type);
      using Compute = typename T::compute;
      Tensor arrays = new_contiguous(x, {6 * array_length(g)}, compute_dtype_of(x));
      return grad_input_cuda<T>(grad.const_data_ptr(), x.const_data_ptr(),
                                grad_x.mutable_data_ptr(), g, vectors.inputs<Compute>(settings),
                                static_cast<Activation>(settings.activation),
                                values<Compute>(arrays), where.multiprocessors, where.stream);
    });
  }

  static void update(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                     const Tensor& var, const int64_t* batches, double momentum,
                     double correction) {
    if (mean.numel() == 0) return;
    launch(mean, "batch_norm_act_update_", [&](auto type, const CudaLaunch& where) {
      using Compute = typename decltype(type)::compute;
      return update_cuda<Compute>(values<Compute>(running_mean), running_mean.stride(0),
                                  values<Compute>(running_var), running_var.stride(0),
                                  static_cast<const Compute*>(mean.const_data_ptr()),
                                  static_cast<const Compute*>(var.const_data_ptr()), batches,
                                  momentum, correction, mean.size(0), mean.size(1), where.stream);
    });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CUDA, m) {
  register_ops<Cuda>(m);
}

}  // namespace gankit::batch_norm_act
