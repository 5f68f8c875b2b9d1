// What both launchers need: argument checks, and the (sample, channel) coordinates of a tensor's
// memory.
#pragma once

#include <algorithm>

#include "../common/checks.h"
#include "../common/tensors.h"
#include "leaky_relu_dropout_math.h"

namespace gankit::leaky_relu_dropout {

// What the kernels rely on; see common/checks.h.
inline void check_draws(const Tensor& x, const Tensor& seed, int64_t threshold, bool channelwise) {
  check_float("x", x);
  check_seed(seed, "x", x);
  check_number("threshold", threshold, 0, 65536);
  STD_TORCH_CHECK(!channelwise || x.dim() >= 2,
                  "x: channelwise dropout needs [N, C, ...], got a tensor of ", x.dim(),
                  " dimensions");
}

// `model` is dense, with at least two dimensions: samples first, channels second. A dimension of
// size one may carry any stride: one past the end keeps its coordinate at zero.
inline Channels channels_of(const Tensor& model) {
  const auto sizes = model.sizes();
  const auto strides = model.strides();
  const auto stride = [&](size_t d) { return sizes[d] == 1 ? model.numel() : strides[d]; };
  return {sizes[0], stride(0), sizes[1], stride(1)};
}

}  // namespace gankit::leaky_relu_dropout
