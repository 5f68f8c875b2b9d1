// The first dimension of a tensor's memory, for the launchers.
#pragma once

#include "samples.h"
#include "tensors.h"

namespace gankit {

// `model` is dense, with at least one dimension and one element. A dimension of size one may carry
// any stride: one past the end keeps its coordinate at zero.
inline Samples samples_of(const Tensor& model) {
  const int64_t count = model.sizes()[0];
  return {count, count == 1 ? model.numel() : model.strides()[0]};
}

}  // namespace gankit
