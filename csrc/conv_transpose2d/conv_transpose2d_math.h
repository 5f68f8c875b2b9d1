// The fold of a transposed convolution with its bias and activation, and its derivative: the only
// place where the formulas stand in C++.
//
// A transposed convolution is a matrix product, which gives every input pixel a patch of
// kernel_h x kernel_w values for every output channel (the columns), and a fold, which adds the
// patches up where they overlap: columns[n, (c, ki, kj), iy, ix] belongs to output pixel
// (iy * stride_h - pad_h + ki, ix * stride_w - pad_w + kj). Read from the output, pixel oy takes
// the taps ki = (oy + pad_h) % stride_h + m * stride_h of the rows iy = (oy + pad_h) / stride_h -
// m.
#pragma once

#include <cstdint>

#include "../common/dtype.h"
#include "../common/simd.h"
#include "../common/tanh.h"

namespace gankit::conv_transpose2d {

enum class Activation : int { kNone = 0, kReLU = 1, kLeakyReLU = 2, kTanh = 3 };

struct Geometry {
  int64_t samples, channels;  // channels of the output
  int64_t in_h, in_w, out_h, out_w;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;

  GANKIT_HD int64_t columns() const { return channels * kernel_h * kernel_w; }
};

struct Strides {
  int64_t n, c, h, w;

  GANKIT_HD int64_t of(int64_t in, int64_t ic, int64_t ih, int64_t iw) const {
    return in * n + ic * c + ih * h + iw * w;
  }
};

// The last step of one output element, in the compute type.
template <Activation kind, class Compute>
GANKIT_HD Compute activate(Compute v, Compute slope) {
  if constexpr (kind == Activation::kReLU) return v < Compute(0) ? Compute(0) : v;  // keeps NaN
  if constexpr (kind == Activation::kLeakyReLU) return v > Compute(0) ? v : v * slope;
  if constexpr (kind == Activation::kTanh) return tanh_of(v);
  return v;
}

// dL/d(input of the activation) from dL/dy and y. y has the sign of the activation's input, so the
// branch that was taken shows in it (a slope of 0 gives y = 0 there, which is not positive either).
template <Activation kind, class Compute>
GANKIT_HD Compute activation_gradient(Compute grad, Compute y, Compute slope) {
  if constexpr (kind == Activation::kReLU) return y > Compute(0) ? grad : Compute(0);
  if constexpr (kind == Activation::kLeakyReLU) return y > Compute(0) ? grad : grad * slope;
  if constexpr (kind == Activation::kTanh) return grad * (Compute(1) - y * y);
  return grad;
}

// Calls f with the activation as a type, so that no loop decides per element.
template <Activation kind>
struct ActivationTag {
  static constexpr Activation value = kind;
};

template <class F>
inline auto dispatch_activation(int64_t kind, const F& f) {
  switch (static_cast<Activation>(kind)) {
    case Activation::kReLU:
      return f(ActivationTag<Activation::kReLU>{});
    case Activation::kLeakyReLU:
      return f(ActivationTag<Activation::kLeakyReLU>{});
    case Activation::kTanh:
      return f(ActivationTag<Activation::kTanh>{});
    default:
      return f(ActivationTag<Activation::kNone>{});
  }
}

}  // namespace gankit::conv_transpose2d
