// What the CUDA kernels (no torch header) and their launcher (no device code) agree on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gan_bce_math.h"

namespace gankit::gan_bce {

using bce_label_smoothing::Labels;

// One of the two batches: n outputs of D, their label, and the weight of their sum.
template <class T>
struct Half {
  const typename T::bits* x;
  int64_t n;
  Labels<T> labels;
  double weight;
};

// How many numbers `sums` of forward_cuda must hold.
int sum_blocks(int64_t real, int64_t fake, int multiprocessors);

// *y = the weighted sum over both halves
template <class T, class Form>
cudaError_t forward_cuda(const Half<T>& real, const Half<T>& fake, void* y, double* sums,
                         int multiprocessors, cudaStream_t stream);

// The gradients of both halves, for the gradient *grad of the result.
template <class T, class Form>
cudaError_t backward_cuda(const void* grad, const Half<T>& real, const Half<T>& fake,
                          void* grad_real, void* grad_fake, int multiprocessors,
                          cudaStream_t stream);

}  // namespace gankit::gan_bce
