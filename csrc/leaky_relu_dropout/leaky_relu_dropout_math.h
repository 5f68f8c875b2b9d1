// LeakyReLU followed by dropout, on storage bits: the only place the formulas stand in C++.
//
// The output carries its own mask: all bits zero = dropped, sign set = the negative branch was
// taken, otherwise the positive one. Backward therefore needs the gradient and y, nothing else.
#pragma once

#include <cstdint>

#include "../common/dtype.h"
#include "../common/simd.h"

namespace gankit::leaky_relu_dropout {

// threshold: dropped iff the 16-bit draw is below it (0 to 65536).
// scale: 65536 / (65536 - threshold), or 0 where everything is dropped.
// negative_scale: scale * negative_slope. Both are rounded once, from double, to the compute type.
template <class T>
struct Factors {
  uint32_t threshold;
  typename T::compute scale;
  typename T::compute negative_scale;

  Factors(int64_t threshold, double scale, double negative_scale)
      : threshold(static_cast<uint32_t>(threshold)),
        scale(static_cast<typename T::compute>(scale)),
        negative_scale(static_cast<typename T::compute>(negative_scale)) {}
};

template <class T>
GANKIT_HD typename T::bits forward(typename T::bits x, uint32_t draw, const Factors<T>& f) {
  using Bits = typename T::bits;
  const auto value = T::load(x);
  const bool positive = value > 0;  // false for zeros and NaN
  const Bits kept = T::store(value * (positive ? f.scale : f.negative_scale));
  const Bits marked = static_cast<Bits>(kept | (positive ? Bits(0) : T::kSign));
  return draw < f.threshold ? Bits(0) : marked;
}

// dL/dx from dL/dy and y. Linear in the gradient, so it is its own second derivative.
template <class T>
GANKIT_HD typename T::bits backward(typename T::bits grad, typename T::bits y,
                                    const Factors<T>& f) {
  using Bits = typename T::bits;
  const auto factor = (y & T::kSign) ? f.negative_scale : f.scale;
  const Bits kept = T::store(T::load(grad) * factor);
  return y == 0 ? Bits(0) : kept;
}

// The same from x and the draw, for callers that modify y after the call.
template <class T>
GANKIT_HD typename T::bits backward_from_input(typename T::bits grad, typename T::bits x,
                                               uint32_t draw, const Factors<T>& f) {
  using Bits = typename T::bits;
  const auto factor = T::load(x) > 0 ? f.scale : f.negative_scale;
  const Bits kept = T::store(T::load(grad) * factor);
  return draw < f.threshold ? Bits(0) : kept;
}

// With channel dropout the draw of an element is that of its (sample, channel): number
// n * channels + c of the stream. In a dense layout the coordinate along a dimension is
// (offset / stride) % size, whatever the order of the dimensions.
struct Channels {
  int64_t samples, sample_stride, channels, channel_stride;

  GANKIT_HD int64_t of(int64_t offset) const {
    return (offset / sample_stride) % samples * channels + (offset / channel_stride) % channels;
  }
};

}  // namespace gankit::leaky_relu_dropout
