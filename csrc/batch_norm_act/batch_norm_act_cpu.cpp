// CPU entry of gankit::batch_norm_act and its derivative. Arguments were checked in Python.
#include "batch_norm_act_cpu.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "batch_norm_act_tensors.h"

namespace gankit::batch_norm_act {
namespace {

using Optional = std::optional<Tensor>;

struct Settings {
  double eps;
  int64_t activation;
  double slope;
};

struct Vectors {
  Vector mean, var, weight, bias, mean_h, mean_hx;

  Vectors(const Tensor& x, const Tensor& mean, const Tensor& var, const Optional& weight,
          const Optional& bias, const Optional& mean_h = {}, const Optional& mean_hx = {})
      : mean(x, "mean", mean),
        var(x, "var", var),
        weight(x, "weight", weight),
        bias(x, "bias", bias),
        mean_h(x, "mean_h", mean_h),
        mean_hx(x, "mean_hx", mean_hx) {}

  template <class Compute>
  Inputs<Compute> inputs(const Settings& settings) const {
    return {mean.data<Compute>(),
            var.data<Compute>(),
            weight.data<Compute>(),
            bias.data<Compute>(),
            mean_h.data<Compute>(),
            mean_hx.data<Compute>(),
            static_cast<Compute>(settings.eps),
            static_cast<Compute>(settings.slope)};
  }
};

template <class Bits>
const Bits* bits(const Tensor& x) {
  return static_cast<const Bits*>(x.const_data_ptr());
}

// `x` and `model` lie alike.
void run_statistics(const Tensor& x, const Tensor& model, int64_t groups, Tensor& mean,
                    Tensor& var) {
  dispatch_dtype(x, "x", [&](auto type) {
    using T = decltype(type);
    using Compute = typename T::compute;
    statistics_cpu<T>(bits<typename T::bits>(x), geometry_of(model, groups),
                      static_cast<Compute*>(mean.mutable_data_ptr()),
                      static_cast<Compute*>(var.mutable_data_ptr()));
  });
}

void run_apply(const Tensor& x, Tensor& y, int64_t groups, const Vectors& vectors,
               const Settings& settings) {
  if (y.numel() == 0) return;
  dispatch_dtype(x, "x", [&](auto type) {
    using T = decltype(type);
    dispatch_activation(settings.activation, [&](auto activation) {
      apply_cpu<T, decltype(activation)::value>(
          bits<typename T::bits>(x), static_cast<typename T::bits*>(y.mutable_data_ptr()),
          geometry_of(y, groups), vectors.inputs<typename T::compute>(settings));
    });
  });
}

void run_sums(const Tensor& grad, const Tensor& x, const Tensor& model, int64_t groups,
              const Vectors& vectors, const Settings& settings, Tensor& sum_h, Tensor& sum_hx) {
  dispatch_dtype(x, "x", [&](auto type) {
    using T = decltype(type);
    using Compute = typename T::compute;
    dispatch_activation(settings.activation, [&](auto activation) {
      sums_cpu<T, decltype(activation)::value>(
          bits<typename T::bits>(grad), bits<typename T::bits>(x), geometry_of(model, groups),
          vectors.inputs<Compute>(settings), static_cast<Compute*>(sum_h.mutable_data_ptr()),
          static_cast<Compute*>(sum_hx.mutable_data_ptr()));
    });
  });
}

void run_grad_input(const Tensor& grad, const Tensor& x, Tensor& grad_x, int64_t groups,
                    const Vectors& vectors, const Settings& settings) {
  if (grad_x.numel() == 0) return;
  dispatch_dtype(x, "x", [&](auto type) {
    using T = decltype(type);
    dispatch_activation(settings.activation, [&](auto activation) {
      grad_input_cpu<T, decltype(activation)::value>(
          bits<typename T::bits>(grad), bits<typename T::bits>(x),
          static_cast<typename T::bits*>(grad_x.mutable_data_ptr()), geometry_of(grad_x, groups),
          vectors.inputs<typename T::compute>(settings));
    });
  });
}

std::tuple<Tensor, Tensor> statistics_op(const Tensor& x, int64_t groups) {
  Tensor mean = new_statistic(x, groups), var = new_statistic(x, groups);
  const bool as_it_lies = x.is_contiguous() || channels_innermost(x);
  const Tensor dense_x = as_it_lies ? x : laid_out_like(x, result_like(x));
  run_statistics(dense_x, dense_x, groups, mean, var);
  return {mean, var};
}

Tensor apply_op(const Tensor& x, const Tensor& mean, const Tensor& var, Optional weight,
                Optional bias, double eps, int64_t activation, double slope) {
  Tensor y = result_like(x);
  run_apply(laid_out_like(x, y), y, groups_of(x, mean), {x, mean, var, weight, bias},
            {eps, activation, slope});
  return y;
}

std::tuple<Tensor, Tensor, Tensor> forward_op(const Tensor& x, Optional weight, Optional bias,
                                              int64_t groups, double eps, int64_t activation,
                                              double slope) {
  Tensor y = result_like(x);
  Tensor mean = new_statistic(x, groups), var = new_statistic(x, groups);
  const Tensor dense_x = laid_out_like(x, y);
  run_statistics(dense_x, y, groups, mean, var);
  run_apply(dense_x, y, groups, {x, mean, var, weight, bias}, {eps, activation, slope});
  return {y, mean, var};
}

std::tuple<Tensor, Tensor> sums_op(const Tensor& grad, const Tensor& x, const Tensor& mean,
                                   const Tensor& var, Optional weight, Optional bias, double eps,
                                   int64_t activation, double slope) {
  const int64_t groups = groups_of(x, mean);
  const Tensor model = result_like(x);
  Tensor sum_h = new_statistic(x, groups), sum_hx = new_statistic(x, groups);
  run_sums(laid_out_like(grad, model), laid_out_like(x, model), model, groups,
           {x, mean, var, weight, bias}, {eps, activation, slope}, sum_h, sum_hx);
  return {sum_h, sum_hx};
}

Tensor grad_input_op(const Tensor& grad, const Tensor& x, const Tensor& mean, const Tensor& var,
                     Optional weight, Optional bias, Optional mean_h, Optional mean_hx, double eps,
                     int64_t activation, double slope) {
  Tensor grad_x = result_like(x);
  run_grad_input(laid_out_like(grad, grad_x), laid_out_like(x, grad_x), grad_x, groups_of(x, mean),
                 {x, mean, var, weight, bias, mean_h, mean_hx}, {eps, activation, slope});
  return grad_x;
}

// Sums over the groups, and means in place of the sums where `count` is not 0.
template <class Compute>
void finish_sums(Tensor& sum, Tensor* total, int64_t groups, int64_t channels, int64_t count) {
  auto* values = static_cast<Compute*>(sum.mutable_data_ptr());
  if (total != nullptr) {
    auto* out = static_cast<Compute*>(total->mutable_data_ptr());
    for (int64_t c = 0; c < channels; ++c) {
      double all = 0;
      for (int64_t g = 0; g < groups; ++g) all += static_cast<double>(values[g * channels + c]);
      out[c] = static_cast<Compute>(all);
    }
  }
  if (count == 0) return;
  for (int64_t i = 0; i < groups * channels; ++i) values[i] /= static_cast<Compute>(count);
}

std::tuple<Tensor, Tensor, Tensor> backward_op(const Tensor& grad, const Tensor& x,
                                               const Tensor& mean, const Tensor& var,
                                               Optional weight, Optional bias, double eps,
                                               int64_t activation, double slope, bool training,
                                               bool need_input, bool need_parameters) {
  const int64_t groups = groups_of(x, mean), channels = x.size(1);
  const int32_t wide = compute_dtype_of(x);
  const Settings settings{eps, activation, slope};
  Tensor model = result_like(x);  // becomes dL/dx
  const Tensor dense_x = laid_out_like(x, model), dense_grad = laid_out_like(grad, model);
  const std::vector<int64_t> size{need_parameters ? channels : 0};
  Tensor grad_weight = new_contiguous(x, size, wide), grad_bias = new_contiguous(x, size, wide);
  Optional mean_h, mean_hx;
  if (training || need_parameters) {
    Tensor sum_h = new_statistic(x, groups), sum_hx = new_statistic(x, groups);
    run_sums(dense_grad, dense_x, model, groups, {x, mean, var, weight, bias}, settings, sum_h,
             sum_hx);
    const int64_t count = x.numel() / std::max<int64_t>(groups * channels, 1);
    dispatch_dtype(mean, "mean", [&](auto type) {
      using Compute = typename decltype(type)::compute;
      finish_sums<Compute>(sum_h, need_parameters ? &grad_bias : nullptr, groups, channels, count);
      finish_sums<Compute>(sum_hx, need_parameters ? &grad_weight : nullptr, groups, channels,
                           count);
    });
    if (training) {
      mean_h = sum_h;
      mean_hx = sum_hx;
    }
  }
  if (!need_input) return {new_contiguous(x, {0}, dtype_of(x)), grad_weight, grad_bias};
  run_grad_input(dense_grad, dense_x, model, groups,
                 {x, mean, var, weight, bias, mean_h, mean_hx}, settings);
  return {model, grad_weight, grad_bias};
}

void update_op(Tensor running_mean, Tensor running_var, const Tensor& mean, const Tensor& var,
               Optional batches, double momentum, int64_t count) {
  const int64_t groups = mean.size(0), channels = mean.size(1);
  const int64_t seen =
      batches.has_value() ? *static_cast<const int64_t*>(batches->const_data_ptr()) : 0;
  const double correction =
      count > 1 ? static_cast<double>(count) / static_cast<double>(count - 1) : 1.0;
  const int64_t mean_stride = running_mean.stride(0), var_stride = running_var.stride(0);
  dispatch_dtype(mean, "mean", [&](auto type) {
    using Compute = typename decltype(type)::compute;
    const auto* from_mean = static_cast<const Compute*>(mean.const_data_ptr());
    const auto* from_var = static_cast<const Compute*>(var.const_data_ptr());
    auto* to_mean = static_cast<Compute*>(running_mean.mutable_data_ptr());
    auto* to_var = static_cast<Compute*>(running_var.mutable_data_ptr());
    for (int64_t g = 0; g < groups; ++g, from_mean += channels, from_var += channels) {
      const double step =
          batches.has_value() ? 1.0 / static_cast<double>(seen + g + 1) : momentum;
      for (int64_t c = 0; c < channels; ++c) {
        Compute& m = to_mean[c * mean_stride];
        Compute& v = to_var[c * var_stride];
        m = static_cast<Compute>((1 - step) * m + step * from_mean[c]);
        v = static_cast<Compute>((1 - step) * v + step * correction * from_var[c]);
      }
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gankit, CPU, m) {
  // Twice: the public op gets its derivative in Python, the underscored one stays raw.
  m.impl("batch_norm_act", TORCH_BOX(&forward_op));
  m.impl("_batch_norm_act", TORCH_BOX(&forward_op));
  m.impl("batch_norm_act_backward", TORCH_BOX(&backward_op));
  m.impl("_batch_norm_act_backward", TORCH_BOX(&backward_op));
  m.impl("batch_norm_act_statistics", TORCH_BOX(&statistics_op));
  m.impl("_batch_norm_act_statistics", TORCH_BOX(&statistics_op));
  m.impl("batch_norm_act_apply", TORCH_BOX(&apply_op));
  m.impl("_batch_norm_act_apply", TORCH_BOX(&apply_op));
  m.impl("batch_norm_act_sums", TORCH_BOX(&sums_op));
  m.impl("_batch_norm_act_sums", TORCH_BOX(&sums_op));
  m.impl("batch_norm_act_grad_input", TORCH_BOX(&grad_input_op));
  m.impl("_batch_norm_act_grad_input", TORCH_BOX(&grad_input_op));
  m.impl("_batch_norm_act_update_", TORCH_BOX(&update_op));
}

}  // namespace gankit::batch_norm_act
