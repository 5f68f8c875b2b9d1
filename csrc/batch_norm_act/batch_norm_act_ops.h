// The ops on tensors, for both launchers: layouts, results, and what runs after what.
#pragma once

#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>
#include <type_traits>

#include "../common/checks.h"
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

// The dtype of x, and that of the statistics and parameters that belong to it, as the shim has
// them.
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
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                  strides.data(), dtype, device_type, device_index,
                                                  &handle));
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
  const int64_t samples = groups == 0 ? 0 : sizes[0] / groups;  // no slices: of an empty batch
  return {groups, samples, sizes[1], positions, positions == 1 || !model.is_contiguous()};
}

inline Tensor new_statistic(const Tensor& x, int64_t slices) {
  return new_contiguous(x, {slices, x.size(1)}, compute_dtype_of(x));
}

inline Tensor in_one_stretch(const Tensor& x) {
  return x.is_contiguous() ? x : torch::stable::contiguous(x);
}

// One statistic or parameter, or none, in the compute type and in one stretch of memory.
class __attribute__((visibility("hidden"))) Vector {
 public:
  // `model` is what it has the shape of, or null for one value per channel, of all samples or each.
  Vector(const Tensor& x, const char* name, const std::optional<Tensor>& value,
         const Tensor* model = nullptr) {
    if (!value.has_value()) return;
    check_defined(name, *value);
    per_sample_ = model == nullptr && value->dim() == 2;
    const int64_t length = model != nullptr ? model->numel()
                           : per_sample_    ? x.size(0) * x.size(1)
                                            : x.size(1);
    STD_TORCH_CHECK(dtype_of(*value) == compute_dtype_of(x), name,
                    ": expected x's compute type (float64 for float64, else float32)");
    STD_TORCH_CHECK(value->numel() == length, name, ": expected ", length, " values, got ",
                    value->numel());
    if (model != nullptr) {
      check_same_shape(name, *value, "mean", *model);
    } else if (per_sample_) {
      STD_TORCH_CHECK(value->size(0) == x.size(0) && value->size(1) == x.size(1), name,
                      ": expected [C] or [N, C], got [", value->size(0), ", ", value->size(1), "]");
    } else {
      STD_TORCH_CHECK(value->dim() == 1, name, ": expected one dimension, or two, got ",
                      value->dim());
    }
    check_same_device(name, *value, "x", x);
    held_ = in_one_stretch(*value);
  }

  template <class Compute>
  const Compute* data() const {
    return held_.has_value() ? static_cast<const Compute*>(held_->const_data_ptr()) : nullptr;
  }

  bool given() const { return held_.has_value(); }
  bool per_sample() const { return per_sample_; }

 private:
  std::optional<Tensor> held_;
  bool per_sample_ = false;
};

inline void check_x(const Tensor& x) {
  check_float("x", x);
  STD_TORCH_CHECK(x.dim() >= 2, "x: expected [N, C] or [N, C, ...], got ", x.dim(), " dimensions");
}

inline void check_groups(const Tensor& x, int64_t groups) {
  STD_TORCH_CHECK(groups >= 1 && x.size(0) % groups == 0, "groups: ", groups,
                  " does not divide a batch of ", x.size(0));
  // Any number divides an empty batch, and each group has statistics that take memory.
  if (x.size(0) == 0) check_number("groups", groups, 1, int64_t{1} << 16);
}

// How many groups the statistics, [groups, C] or [C], are for.
inline int64_t groups_of(const Tensor& x, const Tensor& mean) {
  const int64_t channels = x.size(1);
  check_defined("mean", mean);
  const int64_t dim = mean.dim();
  STD_TORCH_CHECK((dim == 1 || dim == 2) && mean.sizes()[dim - 1] == channels,
                  "mean: expected [groups, C] or [C] with a last dimension of ", channels,
                  ", the channels of x");
  const int64_t groups = dim == 2 ? mean.size(0) : 1;
  STD_TORCH_CHECK(groups >= 1 && x.size(0) % groups == 0,
                  "mean: expected a number of groups that divides x's batch of ", x.size(0),
                  ", got ", groups);
  return groups;
}

inline void check_running(const char* name, const Tensor& running, const Tensor& mean) {
  check_defined(name, running);
  STD_TORCH_CHECK(dtype_of(running) == dtype_of(mean), name, ": expected the dtype of mean");
  STD_TORCH_CHECK(running.dim() == 1 && running.size(0) == mean.size(1), name,
                  ": expected one dimension of ", mean.size(1), ", the channels of mean");
  check_same_device(name, running, "mean", mean);
  check_unshared(name, running);
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

using Optional = std::optional<Tensor>;

struct Settings {
  double eps;
  int64_t activation;
  double slope;
};

struct Vectors {
  Vector mean, var, weight, bias, mean_q, mean_qx;
  int64_t samples;  // of a group, where each has its own weight and bias; else 0

  Vectors(const Tensor& x, const Tensor& mean, const Tensor& var, const Optional& weight,
          const Optional& bias, const Optional& mean_q = {}, const Optional& mean_qx = {})
      : mean(x, "mean", mean, &mean),
        var(x, "var", var, &mean),
        weight(x, "weight", weight),
        bias(x, "bias", bias),
        mean_q(x, "mean_q", mean_q, &mean),
        mean_qx(x, "mean_qx", mean_qx, &mean),
        samples(per_sample() ? std::max<int64_t>(x.size(0) / groups_of(x, mean), 1) : 0) {
    STD_TORCH_CHECK(!this->weight.given() || !this->bias.given() ||
                        this->weight.per_sample() == this->bias.per_sample(),
                    "weight, bias: expected both [C] or both [N, C]");
  }

  bool per_sample() const { return weight.per_sample() || bias.per_sample(); }

  // Parts of the batch with the same numbers in each channel.
  int64_t slices(const Tensor& x, int64_t groups) const {
    return per_sample() ? x.size(0) : groups;
  }

  template <class Compute>
  Inputs<Compute> inputs(const Settings& settings) const {
    return {mean.data<Compute>(),
            var.data<Compute>(),
            weight.data<Compute>(),
            bias.data<Compute>(),
            mean_q.data<Compute>(),
            mean_qx.data<Compute>(),
            static_cast<Compute>(settings.eps),
            static_cast<Compute>(settings.slope),
            samples};
  }
};

// What becomes of the sums: totals over the slices and means of groups, or null. The means may be
// the sums themselves, where a slice is a group.
struct SumTensors {
  const Tensor &sum_h, &sum_hx;
  const Vector& weight;
  Tensor *grad_bias, *grad_weight, *mean_q, *mean_qx;

  template <class Compute>
  Finish<Compute> of(int64_t slices, const Geometry& g) const {
    const auto values = [](Tensor* x) {
      return x == nullptr ? nullptr : static_cast<Compute*>(x->mutable_data_ptr());
    };
    return {static_cast<const Compute*>(sum_h.const_data_ptr()),
            static_cast<const Compute*>(sum_hx.const_data_ptr()),
            weight.data<Compute>(),
            values(grad_bias),
            values(grad_weight),
            values(mean_q),
            values(mean_qx),
            g.groups,
            slices / g.groups,
            g.channels,
            static_cast<double>(std::max<int64_t>(g.count(), 1)),
            weight.per_sample()};
  }
};

inline void check_activation(int64_t activation) {
  check_number("activation", activation, 0, static_cast<int64_t>(Activation::kTanh));
}

// What a derivative walks through.
inline void check_walk(const Tensor& grad, const Tensor& x, int64_t activation) {
  check_x(x);
  check_like("grad", grad, "x", x);
  check_activation(activation);
}

template <class Bits>
const Bits* bits(const Tensor& x) {
  return static_cast<const Bits*>(x.const_data_ptr());
}

// The ops in terms of what a device does: statistics, apply, sums, finish_sums, grad_input, update.
// apply, sums and grad_input go through the batch slice by slice. sums may leave dL/dz in its last
// argument, if there is one, and then returns true.
template <class Device>
struct Ops {
  static std::tuple<Tensor, Tensor> statistics(const Tensor& x, int64_t groups) {
    check_x(x);
    check_groups(x, groups);
    const typename Device::Guard guard(x);
    Tensor mean = new_statistic(x, groups), var = new_statistic(x, groups);
    const bool as_it_lies = x.is_contiguous() || channels_innermost(x);
    const Tensor dense_x = as_it_lies ? x : laid_out_like(x, result_like(x));
    Device::statistics(dense_x, dense_x, groups, mean, var);
    return {mean, var};
  }

  static Tensor apply(const Tensor& x, const Tensor& mean, const Tensor& var, Optional weight,
                      Optional bias, double eps, int64_t activation, double slope) {
    check_x(x);
    check_activation(activation);
    const int64_t groups = groups_of(x, mean);
    const typename Device::Guard guard(x);
    Tensor y = result_like(x);
    const Vectors vectors{x, mean, var, weight, bias};
    Device::apply(laid_out_like(x, y), y, vectors.slices(x, groups), vectors,
                  {eps, activation, slope});
    return y;
  }

  static std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& x, Optional weight, Optional bias,
                                                    int64_t groups, double eps, int64_t activation,
                                                    double slope) {
    check_x(x);
    check_groups(x, groups);
    check_activation(activation);
    const typename Device::Guard guard(x);
    Tensor y = result_like(x);
    Tensor mean = new_statistic(x, groups), var = new_statistic(x, groups);
    const Tensor dense_x = laid_out_like(x, y);
    const Vectors vectors{x, mean, var, weight, bias};
    Device::statistics(dense_x, y, groups, mean, var);
    Device::apply(dense_x, y, vectors.slices(x, groups), vectors, {eps, activation, slope});
    return {y, mean, var};
  }

  static std::tuple<Tensor, Tensor> sums(const Tensor& grad, const Tensor& x, const Tensor& mean,
                                         const Tensor& var, Optional weight, Optional bias,
                                         double eps, int64_t activation, double slope) {
    check_walk(grad, x, activation);
    const typename Device::Guard guard(x);
    const int64_t groups = groups_of(x, mean);
    const Tensor model = result_like(x);
    const Vectors vectors{x, mean, var, weight, bias};
    const int64_t slices = vectors.slices(x, groups);
    Tensor sum_h = new_statistic(x, slices), sum_hx = new_statistic(x, slices);
    Device::sums(laid_out_like(grad, model), laid_out_like(x, model), model, slices, vectors,
                 {eps, activation, slope}, sum_h, sum_hx, nullptr);
    return {sum_h, sum_hx};
  }

  static Tensor grad_input(const Tensor& grad, const Tensor& x, const Tensor& mean,
                           const Tensor& var, Optional weight, Optional bias, Optional mean_q,
                           Optional mean_qx, double eps, int64_t activation, double slope) {
    check_walk(grad, x, activation);
    STD_TORCH_CHECK(mean_q.has_value() == mean_qx.has_value(),
                    "mean_q, mean_qx: expected both or neither");
    const int64_t groups = groups_of(x, mean);
    const typename Device::Guard guard(x);
    Tensor grad_x = result_like(x);
    const Vectors vectors{x, mean, var, weight, bias, mean_q, mean_qx};
    Device::grad_input(laid_out_like(grad, grad_x), laid_out_like(x, grad_x), grad_x,
                       vectors.slices(x, groups), vectors, {eps, activation, slope});
    return grad_x;
  }

  static std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& x,
                                                     const Tensor& mean, const Tensor& var,
                                                     Optional weight, Optional bias, double eps,
                                                     int64_t activation, double slope,
                                                     bool training, bool need_input,
                                                     bool need_parameters) {
    check_walk(grad, x, activation);
    const typename Device::Guard guard(x);
    const int64_t groups = groups_of(x, mean);
    const Settings settings{eps, activation, slope};
    Tensor model = result_like(x);  // becomes dL/dx
    const Tensor dense_x = laid_out_like(x, model), dense_grad = laid_out_like(grad, model);
    const Vectors known{x, mean, var, weight, bias};
    const int64_t slices = known.slices(x, groups);
    const bool totals = need_parameters && !known.per_sample();
    const std::vector<int64_t> size{totals ? x.size(1) : 0};
    Tensor grad_weight = new_contiguous(x, size, compute_dtype_of(x));
    Tensor grad_bias = new_contiguous(x, size, compute_dtype_of(x));
    Optional mean_q, mean_qx;
    bool kept = false;
    if (training || need_parameters) {
      Tensor sum_h = new_statistic(x, slices), sum_hx = new_statistic(x, slices);
      kept = Device::sums(dense_grad, dense_x, model, slices, known, settings, sum_h, sum_hx,
                          need_input ? &model : nullptr);
      if (training) {
        mean_q = known.per_sample() ? new_statistic(x, groups) : sum_h;
        mean_qx = known.per_sample() ? new_statistic(x, groups) : sum_hx;
      }
      if (training || totals) {
        const SumTensors tensors{sum_h,
                                 sum_hx,
                                 known.weight,
                                 totals ? &grad_bias : nullptr,
                                 totals ? &grad_weight : nullptr,
                                 training ? &*mean_q : nullptr,
                                 training ? &*mean_qx : nullptr};
        Device::finish_sums(tensors, slices, geometry_of(model, groups));
      }
      if (need_parameters && known.per_sample()) {
        grad_weight = sum_hx;
        grad_bias = sum_h;
      }
    }
    if (!need_input) return {new_contiguous(x, {0}, dtype_of(x)), grad_weight, grad_bias};
    const int64_t rest = kept ? static_cast<int64_t>(Activation::kNone) : activation;
    Device::grad_input(kept ? model : dense_grad, dense_x, model, slices,
                       {x, mean, var, weight, bias, mean_q, mean_qx}, {eps, rest, slope});
    return {model, grad_weight, grad_bias};
  }

  // The running statistics keep their strides; the rest is brought into one stretch of memory.
  static void update(Tensor running_mean, Tensor running_var, const Tensor& mean, const Tensor& var,
                     Optional batches, double momentum, int64_t count) {
    check_defined("mean", mean);
    STD_TORCH_CHECK(mean.dim() == 2 && (mean.scalar_type() == ScalarType::Float ||
                                        mean.scalar_type() == ScalarType::Double),
                    "mean: expected [groups, C] in float32 or float64");
    check_like("var", var, "mean", mean);
    check_running("running_mean", running_mean, mean);
    check_running("running_var", running_var, mean);
    if (batches.has_value()) {
      STD_TORCH_CHECK(batches->scalar_type() == ScalarType::Long && batches->numel() == 1,
                      "batches: expected one int64");
      check_same_device("batches", *batches, "mean", mean);
    }
    const typename Device::Guard guard(mean);
    const double correction =
        count > 1 ? static_cast<double>(count) / static_cast<double>(count - 1) : 1.0;
    const int64_t* seen =
        batches.has_value() ? static_cast<const int64_t*>(batches->const_data_ptr()) : nullptr;
    Device::update(running_mean, running_var, in_one_stretch(mean), in_one_stretch(var), seen,
                   momentum, correction);
  }
};

// Twice: the public op gets its derivative in Python, the underscored one stays raw.
template <class Device, class Library>
void register_ops(Library& m) {
  m.impl("batch_norm_act", TORCH_BOX(&Ops<Device>::forward));
  m.impl("_batch_norm_act", TORCH_BOX(&Ops<Device>::forward));
  m.impl("batch_norm_act_backward", TORCH_BOX(&Ops<Device>::backward));
  m.impl("_batch_norm_act_backward", TORCH_BOX(&Ops<Device>::backward));
  m.impl("batch_norm_act_statistics", TORCH_BOX(&Ops<Device>::statistics));
  m.impl("_batch_norm_act_statistics", TORCH_BOX(&Ops<Device>::statistics));
  m.impl("batch_norm_act_apply", TORCH_BOX(&Ops<Device>::apply));
  m.impl("_batch_norm_act_apply", TORCH_BOX(&Ops<Device>::apply));
  m.impl("batch_norm_act_sums", TORCH_BOX(&Ops<Device>::sums));
  m.impl("_batch_norm_act_sums", TORCH_BOX(&Ops<Device>::sums));
  m.impl("batch_norm_act_grad_input", TORCH_BOX(&Ops<Device>::grad_input));
  m.impl("_batch_norm_act_grad_input", TORCH_BOX(&Ops<Device>::grad_input));
  m.impl("_batch_norm_act_update_", TORCH_BOX(&Ops<Device>::update));
}

}  // namespace gankit::batch_norm_act
