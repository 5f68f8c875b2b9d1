// The (sample, channel) coordinates of a tensor's memory, for both launchers.
#pragma once

#include <algorithm>

#include "../common/tensors.h"
#include "leaky_relu_dropout_math.h"

namespace gankit::leaky_relu_dropout {

// `model` is dense, with at least two dimensions: samples first, channels second. A dimension of
// size one may carry any stride: one past the end keeps its coordinate at zero.
inline Channels channels_of(const Tensor& model) {
  const auto sizes = model.sizes();
  const auto strides = model.strides();
  const auto stride = [&](size_t d) { return sizes[d] == 1 ? model.numel() : strides[d]; };
  return {sizes[0], stride(0), sizes[1], stride(1)};
}

}  // namespace gankit::leaky_relu_dropout
