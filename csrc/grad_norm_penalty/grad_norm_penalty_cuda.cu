// CUDA kernels of grad_norm_penalty. A block sums one sample; one more block makes the mean. No
// atomics, so the same input gives the same bits. Backward streams and is bound by memory.
#include "../common/cuda_reduce.h"
#include "../common/cuda_samples.h"
#include "grad_norm_penalty_cuda.h"
#include "grad_norm_penalty_math.h"

namespace gankit::grad_norm_penalty {
namespace {

// kWidth elements per access: kElements where rows are whole 16-byte vectors, else one.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    gankit_grad_norm_penalty_norms(const typename T::bits* __restrict__ grad,
                                   typename T::compute* __restrict__ norms, int64_t rows,
                                   int64_t length) {
  using Compute = typename T::compute;
  __shared__ Compute shared[kThreads];
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const typename T::bits* x = grad + row * length;
    Compute sum = 0;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * kWidth; at < length;
         at += kThreads * kWidth) {
      if constexpr (kWidth == 1) {
        const Compute value = T::load(x[at]);
        sum += value * value;
      } else {
        typename T::bits in[kElements];
        load8<true>(x, at, length, in);
        GANKIT_UNROLL
        for (int j = 0; j < kElements; ++j) {
          const Compute value = T::load(in[j]);
          sum += value * value;
        }
      }
    }
    const Compute total = block_sum(sum, shared);
    if (threadIdx.x == 0) norms[row] = sqrt(total);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gankit_grad_norm_penalty_mean(const typename T::compute* __restrict__ norms,
                                  typename T::bits* __restrict__ result, int64_t rows,
                                  typename T::compute target, int64_t mode) {
  using Compute = typename T::compute;
  __shared__ Compute shared[kThreads];
  Compute sum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += kThreads) {
    sum += penalty<Compute>(norms[row], target, mode);
  }
  const Compute total = block_sum(sum, shared);
  // Zero by zero where there are no samples: NaN, as torch's mean of nothing.
  if (threadIdx.x == 0) *result = T::store(total / static_cast<Compute>(rows));
}

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_grad_norm_penalty_backward(const typename T::bits* __restrict__ upstream,
                                      const typename T::bits* __restrict__ grad,
                                      const typename T::compute* __restrict__ norms,
                                      typename T::bits* __restrict__ out, int64_t n,
                                      SampleIndex samples, typename T::compute target,
                                      int64_t mode) {
  using Compute = typename T::compute;
  constexpr int kStep = kAligned ? kElements : 1;
  const Compute share =
      T::load(*upstream) / static_cast<Compute>(static_cast<int64_t>(samples.count.divisor));
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kStep;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kStep;
  for (; first < n; first += stride) {
    const Compute by = share * factor<Compute>(norms[samples.of(first)], target, mode);
    if constexpr (kAligned) {
      typename T::bits g[kElements], result[kElements];
      load8<true>(grad, first, n, g);
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) result[j] = T::store(T::load(g[j]) * by);
      store8<true>(out, first, n, result);
    } else {
      out[first] = T::store(T::load(grad[first]) * by);
    }
  }
}

}  // namespace

template <class T>
cudaError_t forward_cuda(const void* grad, void* norms, void* penalty, int64_t rows, int64_t length,
                         double target, int64_t mode, int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  using Compute = typename T::compute;
  if (rows > 0) {
    const bool whole = length % kElements == 0 && aligned16(grad);
    auto* kernel =
        whole ? gankit_grad_norm_penalty_norms<T, kElements> : gankit_grad_norm_penalty_norms<T, 1>;
    const int64_t most = static_cast<int64_t>(multiprocessors) * 8;
    const int grid = static_cast<int>(rows < most ? rows : most);
    GANKIT_LAUNCH_TOGETHER(kernel, grid, kThreads, stream, static_cast<const Bits*>(grad),
                           static_cast<Compute*>(norms), rows, length);
    const cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess) return status;
  }
  GANKIT_LAUNCH_TOGETHER(gankit_grad_norm_penalty_mean<T>, 1, kThreads, stream,
                         static_cast<const Compute*>(norms), static_cast<Bits*>(penalty), rows,
                         static_cast<Compute>(target), mode);
  return cudaGetLastError();
}

template <class T>
cudaError_t backward_cuda(const void* upstream, const void* grad, const void* norms, void* out,
                          int64_t n, const Samples& samples, double target, int64_t mode,
                          int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  using Compute = typename T::compute;
  const bool whole = vectors_stay_inside(samples) && aligned16(grad) && aligned16(out);
  auto* kernel = whole ? gankit_grad_norm_penalty_backward<T, true>
                       : gankit_grad_norm_penalty_backward<T, false>;
  const int64_t steps = whole ? (n + kElements - 1) / kElements : n;
  GANKIT_LAUNCH(kernel, grid_size(steps, multiprocessors), kThreads, stream,
                static_cast<const Bits*>(upstream), static_cast<const Bits*>(grad),
                static_cast<const Compute*>(norms), static_cast<Bits*>(out), n,
                SampleIndex(samples), static_cast<Compute>(target), mode);
  return cudaGetLastError();
}

#define GANKIT_INSTANTIATE(T)                                                                  \
  template cudaError_t forward_cuda<T>(const void*, void*, void*, int64_t, int64_t, double,    \
                                       int64_t, int, cudaStream_t);                            \
  template cudaError_t backward_cuda<T>(const void*, const void*, const void*, void*, int64_t, \
                                        const Samples&, double, int64_t, int, cudaStream_t);

GANKIT_INSTANTIATE(Float64)
GANKIT_INSTANTIATE(Float32)
GANKIT_INSTANTIATE(BFloat16)
GANKIT_INSTANTIATE(Float16)

}  // namespace gankit::grad_norm_penalty
