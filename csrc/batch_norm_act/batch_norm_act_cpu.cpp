// CPU entry of gankit::batch_norm_act and its derivative.
#include "batch_norm_act_cpu.h"

#include "batch_norm_act_ops.h"

namespace gankit::batch_norm_act {
namespace {

struct Cpu {
  struct Guard {
    explicit Guard(const Tensor&) {}
  };

  // `x` and `model` lie alike.
  static void statistics(const Tensor& x, const Tensor& model, int64_t groups, Tensor& mean,
                         Tensor& var) {
    dispatch_dtype(x, "x", [&](auto type) {
      using T = decltype(type);
      using Compute = typename T::compute;
      statistics_cpu<T>(bits<typename T::bits>(x), geometry_of(model, groups),
                        static_cast<Compute*>(mean.mutable_data_ptr()),
                        static_cast<Compute*>(var.mutable_data_ptr()));
    });
  }

  static void apply(const Tensor& x, Tensor& y, int64_t slices, const Vectors& vectors,
                    const Settings& settings) {
    if (y.numel() == 0) return;
    dispatch_dtype(x, "x", [&](auto type) {
      using T = decltype(type);
      dispatch_activation(settings.activation, [&](auto activation) {
        apply_cpu<T, decltype(activation)::value>(
            bits<typename T::bits>(x), static_cast<typename T::bits*>(y.mutable_data_ptr()),
            geometry_of(y, slices), vectors.inputs<typename T::compute>(settings));
      });
    });
  }

  // tanh costs more than moving its derivative does, so the sweep that sums leaves that for the one
  // after it; not in 16 bits, which would round it.
  static bool sums(const Tensor& grad, const Tensor& x, const Tensor& model, int64_t slices,
                   const Vectors& vectors, const Settings& settings, Tensor& sum_h, Tensor& sum_hx,
                   Tensor* h) {
    bool keep = h != nullptr;
    dispatch_dtype(x, "x", [&](auto type) {
      using T = decltype(type);
      using Bits = typename T::bits;
      using Compute = typename T::compute;
      dispatch_activation(settings.activation, [&](auto activation) {
        constexpr Activation kActivation = decltype(activation)::value;
        constexpr bool kCanKeep =
            kActivation == Activation::kTanh && sizeof(Bits) == sizeof(Compute);
        const Geometry g = geometry_of(model, slices);
        const auto inputs = vectors.inputs<Compute>(settings);
        auto* to_h = static_cast<Compute*>(sum_h.mutable_data_ptr());
        auto* to_hx = static_cast<Compute*>(sum_hx.mutable_data_ptr());
        keep = keep && kCanKeep;
        if (keep) {
          sums_cpu<T, kActivation, kCanKeep>(bits<Bits>(grad), bits<Bits>(x), g, inputs, to_h,
                                             to_hx, static_cast<Bits*>(h->mutable_data_ptr()));
          return;
        }
        sums_cpu<T, kActivation>(bits<Bits>(grad), bits<Bits>(x), g, inputs, to_h, to_hx);
      });
    });
    return keep;
  }

  static void grad_input(const Tensor& grad, const Tensor& x, Tensor& grad_x, int64_t slices,
                         const Vectors& vectors, const Settings& settings) {
    if (grad_x.numel() == 0) return;
    dispatch_dtype(x, "x", [&](auto type) {
      using T = decltype(type);
      dispatch_activation(settings.activation, [&](auto activation) {
        grad_input_cpu<T, decltype(activation)::value>(
            bits<typename T::bits>(grad), bits<typename T::bits>(x),
            static_cast<typename T::bits*>(grad_x.mutable_data_ptr()), geometry_of(grad_x, slices),
            vectors.inputs<typename T::compute>(settings));
      });
    });
  }

  static void finish_sums(const SumTensors& tensors, int64_t slices, const Geometry& g) {
    dispatch_dtype(tensors.sum_h, "sum", [&](auto type) {
      const auto finish = tensors.of<typename decltype(type)::compute>(slices, g);
      for (int64_t c = 0; c < g.channels; ++c) finish.channel(c);
    });
  }

  static void update(Tensor& running_mean, Tensor& running_var, const Tensor& mean,
                     const Tensor& var, const int64_t* batches, double momentum,
                     double correction) {
    const int64_t groups = mean.size(0), channels = mean.size(1);
    const int64_t mean_stride = running_mean.stride(0), var_stride = running_var.stride(0);
    dispatch_dtype(mean, "mean", [&](auto type) {
      using Compute = typename decltype(type)::compute;
      const auto* from_mean = static_cast<const Compute*>(mean.const_data_ptr());
      const auto* from_var = static_cast<const Compute*>(var.const_data_ptr());
      auto* to_mean = static_cast<Compute*>(running_mean.mutable_data_ptr());
      auto* to_var = static_cast<Compute*>(running_var.mutable_data_ptr());
      for (int64_t g = 0; g < groups; ++g, from_mean += channels, from_var += channels) {
        const double step =
            batches == nullptr ? momentum : 1.0 / static_cast<double>(*batches + g + 1);
        for (int64_t c = 0; c < channels; ++c) {
          Compute& m = to_mean[c * mean_stride];
          Compute& v = to_var[c * var_stride];
          m = static_cast<Compute>((1 - step) * m + step * from_mean[c]);
          v = static_cast<Compute>((1 - step) * v + step * correction * from_var[c]);
        }
      }
    });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  register_ops<Cpu>(m);
}

}  // namespace gankit::batch_norm_act
