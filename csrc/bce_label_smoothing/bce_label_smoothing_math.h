// Binary cross entropy with smoothed labels: the only place the formulas stand in C++.
#pragma once

#include <cstdint>

#include "../common/dtype.h"
#include "../common/explog.h"
#include "../common/simd.h"

namespace gankit::bce_label_smoothing {

// The smoothed label of t is scale * t + shift. Its complement is scale * (1 - t) + co_shift, a sum
// of its own, because 1 - (scale * t + shift) would cancel near one. A scalar label has scale 0.
template <class T>
struct Labels {
  typename T::compute scale, shift, co_shift;

  Labels(double scale, double shift)
      : scale(static_cast<typename T::compute>(scale)),
        shift(static_cast<typename T::compute>(shift)),
        co_shift(static_cast<typename T::compute>((1.0 - scale) - shift)) {}

  GANKIT_HD typename T::compute label(typename T::compute t) const { return scale * t + shift; }
  GANKIT_HD typename T::compute complement(typename T::compute t) const {
    return scale * (1 - t) + co_shift;
  }
};

// `x` is the logit. With a = |x| the loss is a (1 - t or t) + log(1 + exp(-a)), where no term
// cancels another, and the slope is +-((1 - t or t) - sigmoid(-a)).
struct Logits {
  template <class T>
  static GANKIT_HD typename T::compute loss(typename T::compute x, typename T::compute t,
                                            const Labels<T>& labels) {
    const auto magnitude = x < 0 ? -x : x;
    const auto weight = x < 0 ? labels.label(t) : labels.complement(t);
    return magnitude * weight + log1p_unit(exp_nonpositive(-magnitude));
  }

  template <class T>
  static GANKIT_HD typename T::compute slope(typename T::compute x, typename T::compute t,
                                             const Labels<T>& labels) {
    const auto e = exp_nonpositive(x < 0 ? x : -x);
    const auto tail = e / (1 + e);
    return x < 0 ? tail - labels.label(t) : labels.complement(t) - tail;
  }
};

// `p` is the probability; torch's constants. The loss is NaN where p or t lies outside [0, 1], and
// nowhere else.
struct Probabilities {
  template <class T>
  static GANKIT_HD typename T::compute loss(typename T::compute p, typename T::compute t,
                                            const Labels<T>& labels) {
    using Compute = typename T::compute;
    const Compute log_p = log_unit(p), log_q = log1p_negative(p);
    const Compute hit = log_p < -100 ? Compute(-100) : log_p;
    const Compute miss = log_q < -100 ? Compute(-100) : log_q;
    const Compute value = -(labels.label(t) * hit + labels.complement(t) * miss);
    // Bitwise: && would be a branch.
    const bool valid = (p >= 0) & (p <= 1) & (t >= 0) & (t <= 1);
    return valid ? value : static_cast<Compute>(bit_cast<float>(0x7FC00000u));
  }

  template <class T>
  static GANKIT_HD typename T::compute slope(typename T::compute p, typename T::compute t,
                                             const Labels<T>& labels) {
    using Compute = typename T::compute;
    const Compute variance = p * (1 - p);
    const Compute least = static_cast<Compute>(1e-12);
    return (p - labels.label(t)) / (variance < least ? least : variance);
  }
};

// Where the label of element i comes from before smoothing.
struct ScalarTarget {
  template <class T>
  GANKIT_HD typename T::compute get(int64_t) const {
    return 0;
  }
  GANKIT_HD ScalarTarget from(int64_t) const { return {}; }
};

struct BoolTarget {
  const uint8_t* data;

  template <class T>
  GANKIT_HD typename T::compute get(int64_t i) const {
    return static_cast<typename T::compute>(data[i]);
  }
  GANKIT_HD BoolTarget from(int64_t offset) const { return {data + offset}; }
};

template <class T>
struct TensorTarget {
  const typename T::bits* data;

  template <class U>
  GANKIT_HD typename U::compute get(int64_t i) const {
    return U::load(data[i]);
  }
  GANKIT_HD TensorTarget from(int64_t offset) const { return {data + offset}; }
};

}  // namespace gankit::bce_label_smoothing
