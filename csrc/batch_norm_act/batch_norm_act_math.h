// Batch normalisation with its activation: the only place the formulas stand in C++.
//
// Statistics, parameters and all arithmetic are in the compute type. xhat = (x - mean) * inverse
// subtracts first: folding mean into the shift would cancel badly where the mean is large.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/dtype.h"
#include "../common/simd.h"
#include "../common/tanh.h"

namespace gankit::batch_norm_act {

enum class Activation : int64_t { kNone = 0, kRelu = 1, kLeakyRelu = 2, kTanh = 3 };

// At zero the derivatives are those of the negative branch, as in torch; NaN stays NaN.
template <Activation kActivation, class Compute>
GANKIT_HD Compute activate(Compute z, Compute slope) {
  if constexpr (kActivation == Activation::kRelu) return z <= 0 ? Compute(0) : z;
  if constexpr (kActivation == Activation::kLeakyRelu) return z * (z > 0 ? Compute(1) : slope);
  if constexpr (kActivation == Activation::kTanh) return tanh_of(z);
  return z;
}

// dL/dz from dL/dy.
template <Activation kActivation, class Compute>
GANKIT_HD Compute grad_z(Compute grad, Compute z, Compute slope) {
  if constexpr (kActivation == Activation::kRelu) return z <= 0 ? Compute(0) : grad;
  if constexpr (kActivation == Activation::kLeakyRelu) return grad * (z > 0 ? Compute(1) : slope);
  if constexpr (kActivation == Activation::kTanh) {
    const Compute y = tanh_of(z);
    return grad * (1 - y * y);
  }
  return grad;
}

// The same with the activation known at run time: on a GPU the choice costs next to nothing, since
// all threads agree.
template <class Compute>
GANKIT_HD Compute activate(Activation activation, Compute z, Compute slope) {
  if (activation == Activation::kRelu) return activate<Activation::kRelu>(z, slope);
  if (activation == Activation::kLeakyRelu) return activate<Activation::kLeakyRelu>(z, slope);
  if (activation == Activation::kTanh) return activate<Activation::kTanh>(z, slope);
  return z;
}

template <class Compute>
GANKIT_HD Compute grad_z(Activation activation, Compute grad, Compute z, Compute slope) {
  if (activation == Activation::kRelu) return grad_z<Activation::kRelu>(grad, z, slope);
  if (activation == Activation::kLeakyRelu) return grad_z<Activation::kLeakyRelu>(grad, z, slope);
  if (activation == Activation::kTanh) return grad_z<Activation::kTanh>(grad, z, slope);
  return grad;
}

// What one channel of one slice needs: of one group, or of one sample with a scale and a shift of
// its own. z = (x - mean) * scale + shift, and
// dL/dx = dL/dz * scale - constant - (x - mean) * linear.
template <class Compute>
struct Channel {
  Compute mean, inverse, scale, shift, constant, linear;
};

// weight, bias and the two means may be null: 1, 0 and 0 (the statistics are constants).
template <class Compute>
GANKIT_HD Channel<Compute> channel_of(Compute mean, Compute var, Compute eps, const Compute* weight,
                                      const Compute* bias, const Compute* mean_q,
                                      const Compute* mean_qx) {
  Channel<Compute> c;
  c.mean = mean;
  c.inverse = 1 / std::sqrt(var + eps);
  c.scale = weight == nullptr ? c.inverse : c.inverse * *weight;
  c.shift = bias == nullptr ? Compute(0) : *bias;
  c.constant = mean_q == nullptr ? Compute(0) : c.inverse * *mean_q;
  c.linear = mean_qx == nullptr ? Compute(0) : c.inverse * c.inverse * *mean_qx;
  return c;
}

template <class T, Activation kActivation>
GANKIT_HD typename T::bits forward(typename T::bits x, typename T::compute mean,
                                   typename T::compute scale, typename T::compute shift,
                                   typename T::compute slope) {
  return T::store(activate<kActivation>((T::load(x) - mean) * scale + shift, slope));
}

template <class T, Activation kActivation>
GANKIT_HD typename T::bits grad_input(typename T::bits grad, typename T::bits x,
                                      const Channel<typename T::compute>& c,
                                      typename T::compute slope) {
  const auto centred = T::load(x) - c.mean;
  const auto h = grad_z<kActivation>(T::load(grad), centred * c.scale + c.shift, slope);
  // Where the statistics are constants, so is this: infinity times zero would make it NaN.
  const auto pull = c.linear == 0 ? typename T::compute(0) : centred * c.linear;
  return T::store(h * c.scale - c.constant - pull);
}

template <class Real>
GANKIT_HD bool is_finite(Real value) {
  return value - value == 0;
}

// Mean and sum of squared deviations of `count` values; `add` joins two sets of values by the
// formula of Chan, Golub and LeVeque (1979), which loses no digits to a large mean.
template <class Real>
struct Moments {
  Real count = 0, mean = 0, deviations = 0;

  GANKIT_HD void add(const Moments& other) {
    if (other.count == 0) return;
    const Real total = count + other.count;
    const Real delta = other.mean - mean;
    const Real share = other.count / total;
    // An infinite mean stays infinite, where the distance to it, times a share, would make it NaN.
    mean = is_finite(delta) ? mean + delta * share : mean + other.mean;
    deviations += other.deviations + delta * delta * count * share;
    count = total;
  }
};

// From sums of (x - shift) and (x - shift)^2; an infinite shift gives NaN. Sound if it is the mean
// of some f of the values: then (mean - shift)^2 <= variance / f, so at most the digits of 1 / f
// are lost.
template <class Real>
GANKIT_HD Moments<Real> moments_of(Real count, Real shift, Real sum, Real squares) {
  if (count == 0) return {};
  const Real offset = sum / count;
  const Real deviations = squares - sum * offset;
  return {count, shift + offset, deviations < 0 ? Real(0) : deviations};
}

// weight, bias, mean_q and mean_qx may be null. mean, var and the other two are [groups, channels],
// weight and bias [channels], and a slice is a group. With `samples`, that of a group, weight and
// bias are [all samples, channels], and a slice is a sample.
template <class Compute>
struct Inputs {
  const Compute *mean, *var, *weight, *bias, *mean_q, *mean_qx;
  Compute eps, slope;
  int64_t samples = 0;

  // i is an index into [slices, channels].
  GANKIT_HD Channel<Compute> channel(int64_t i, int64_t channels) const {
    const int64_t c = i % channels, p = samples == 0 ? c : i;
    const int64_t s = samples == 0 ? i : i / channels / samples * channels + c;
    return channel_of(mean[s], var[s], eps, weight == nullptr ? weight : weight + p,
                      bias == nullptr ? bias : bias + p, mean_q == nullptr ? mean_q : mean_q + s,
                      mean_qx == nullptr ? mean_qx : mean_qx + s);
  }
};

// From the sums of h and h * xhat over slices to the gradients of weight and bias, which are the
// totals, and to the means of q = weight * h over groups of `each` slices. What is null is not
// wanted; the means may lie where the sums do, if each is 1.
template <class Compute>
struct Finish {
  const Compute *sum_h, *sum_hx, *weight;
  Compute *grad_bias, *grad_weight, *mean_q, *mean_qx;
  int64_t groups, each, channels;
  double count;     // values of a channel in a group
  bool per_sample;  // weight is [slices, channels], else [channels] or null

  GANKIT_HD void channel(int64_t c) const {
    double total_h = 0, total_hx = 0;
    int64_t i = c;
    for (int64_t group = 0; group < groups; ++group) {
      double q = 0, qx = 0;
      for (int64_t s = 0; s < each; ++s, i += channels) {
        const double h = sum_h[i], hx = sum_hx[i];
        const double w = weight == nullptr ? 1 : weight[per_sample ? i : c];
        total_h += h;
        total_hx += hx;
        q += w * h;
        qx += w * hx;
      }
      if (mean_q != nullptr) mean_q[group * channels + c] = static_cast<Compute>(q / count);
      if (mean_qx != nullptr) mean_qx[group * channels + c] = static_cast<Compute>(qx / count);
    }
    if (grad_bias != nullptr) grad_bias[c] = static_cast<Compute>(total_h);
    if (grad_weight != nullptr) grad_weight[c] = static_cast<Compute>(total_hx);
  }
};

// Where the elements lie: `groups` slices of `samples` samples each; a sample is `channels` planes
// of `positions` elements, or with channels_last `positions` rows of `channels` elements.
struct Geometry {
  int64_t groups, samples, channels, positions;
  bool channels_last;

  GANKIT_HD int64_t count() const { return samples * positions; }
  GANKIT_HD int64_t group_elements() const { return samples * channels * positions; }
};

}  // namespace gankit::batch_norm_act
