// CUDA kernels of bce_label_smoothing: streaming. A sum takes two launches, blocks and then their
// numbers, or one where a single block does it all.
#include "bce_label_smoothing_cuda.h"
#include "bce_label_smoothing_device.h"

namespace gankit::bce_label_smoothing {
namespace {

// `sums` null: the only block, which writes the result itself.
template <class T, class Form, class Target, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_bce_label_smoothing_sum(const typename T::bits* __restrict__ x, Target target,
                                   typename T::bits* __restrict__ y, double* __restrict__ sums,
                                   int64_t n, Labels<T> labels, double factor) {
  const double part =
      thread_sum<T, Form, Target, kAligned>(x, target, labels, n, blockIdx.x, gridDim.x);
  sum_over_block(part, [&](double sum) {
    if (sums != nullptr) {
      sums[blockIdx.x] = sum;
    } else {
      *y = T::store(static_cast<typename T::compute>(sum * factor));
    }
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gankit_bce_label_smoothing_finish(const double* sums, int count, typename T::bits* y,
                                      double factor) {
  sum_of_blocks(sums, count,
                [&](double sum) { *y = T::store(static_cast<typename T::compute>(sum * factor)); });
}

template <class T, class Form, class Target, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_bce_label_smoothing_each(const typename T::bits* __restrict__ x, Target target,
                                    typename T::bits* __restrict__ y, int64_t n, Labels<T> labels) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kStep<T>;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kStep<T>;
  for (; first < n; first += stride) {
    typename T::bits in[kStep<T>], out[kStep<T>];
    typename T::compute t[kStep<T>];
    load8<kAligned>(x, first, n, in);
    load_targets<T, kAligned>(target, first, n, t);
    GANKIT_UNROLL
    for (int j = 0; j < kStep<T>; ++j) {
      out[j] = T::store(Form::template loss<T>(T::load(in[j]), t[j], labels));
    }
    store8<kAligned>(y, first, n, out);
  }
}

template <class T, class Form, class Target, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_bce_label_smoothing_backward_shared(const typename T::bits* __restrict__ grad,
                                               const typename T::bits* __restrict__ x,
                                               Target target, typename T::bits* __restrict__ grad_x,
                                               int64_t n, Labels<T> labels, double factor) {
  const auto shared = static_cast<typename T::compute>(T::load(*grad) * factor);
  store_slopes<T, Form, Target, kAligned>(x, target, shared, grad_x, labels, n, blockIdx.x,
                                          gridDim.x);
}

template <class T, class Form, class Target, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_bce_label_smoothing_backward_each(const typename T::bits* __restrict__ grad,
                                             const typename T::bits* __restrict__ x, Target target,
                                             typename T::bits* __restrict__ grad_x, int64_t n,
                                             Labels<T> labels) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kStep<T>;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kStep<T>;
  for (; first < n; first += stride) {
    typename T::bits g[kStep<T>], in[kStep<T>], out[kStep<T>];
    typename T::compute t[kStep<T>];
    load8<kAligned>(grad, first, n, g);
    load8<kAligned>(x, first, n, in);
    load_targets<T, kAligned>(target, first, n, t);
    GANKIT_UNROLL
    for (int j = 0; j < kStep<T>; ++j) {
      const auto slope = Form::template slope<T>(T::load(in[j]), t[j], labels);
      out[j] = T::store(T::load(g[j]) * slope);
    }
    store8<kAligned>(grad_x, first, n, out);
  }
}

bool aligned(const ScalarTarget&) {
  return true;
}
bool aligned(const BoolTarget&) {
  return true;  // read byte by byte
}
template <class T>
bool aligned(const TensorTarget<T>& target) {
  return aligned16(target.data);
}

}  // namespace

int sum_blocks(int64_t n, int multiprocessors) {
  return grid_size(vectors(n), multiprocessors);
}

template <class T, class Form, class Target>
cudaError_t sum_cuda(const void* x, const Target& target, void* y, double* sums, int64_t n,
                     const Labels<T>& labels, double factor, int multiprocessors,
                     cudaStream_t stream) {
  using Bits = typename T::bits;
  const int blocks = sum_blocks(n, multiprocessors);
  auto* kernel = aligned16(x) && aligned(target)
                     ? gankit_bce_label_smoothing_sum<T, Form, Target, true>
                     : gankit_bce_label_smoothing_sum<T, Form, Target, false>;
  auto* out = static_cast<Bits*>(y);
  double* partial = blocks > 1 ? sums : nullptr;
  GANKIT_LAUNCH(kernel, blocks, kThreads, stream, static_cast<const Bits*>(x), target, out, partial,
                n, labels, factor);
  if (blocks > 1) {
    auto* finish = gankit_bce_label_smoothing_finish<T>;
    const double* parts = sums;
    GANKIT_LAUNCH(finish, 1, kThreads, stream, parts, blocks, out, factor);
  }
  return cudaGetLastError();
}

template <class T, class Form, class Target>
cudaError_t each_cuda(const void* x, const Target& target, void* y, int64_t n,
                      const Labels<T>& labels, int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int grid = grid_size(vectors(n), multiprocessors);
  auto* kernel = aligned16(x) && aligned16(y) && aligned(target)
                     ? gankit_bce_label_smoothing_each<T, Form, Target, true>
                     : gankit_bce_label_smoothing_each<T, Form, Target, false>;
  GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(x), target,
                static_cast<Bits*>(y), n, labels);
  return cudaGetLastError();
}

template <class T, class Form, class Target>
cudaError_t backward_shared_cuda(const void* grad, const void* x, const Target& target,
                                 void* grad_x, int64_t n, const Labels<T>& labels, double factor,
                                 int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int grid = grid_size(vectors(n), multiprocessors);
  auto* kernel = aligned16(x) && aligned16(grad_x) && aligned(target)
                     ? gankit_bce_label_smoothing_backward_shared<T, Form, Target, true>
                     : gankit_bce_label_smoothing_backward_shared<T, Form, Target, false>;
  GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(grad),
                static_cast<const Bits*>(x), target, static_cast<Bits*>(grad_x), n, labels, factor);
  return cudaGetLastError();
}

template <class T, class Form, class Target>
cudaError_t backward_each_cuda(const void* grad, const void* x, const Target& target, void* grad_x,
                               int64_t n, const Labels<T>& labels, int multiprocessors,
                               cudaStream_t stream) {
  using Bits = typename T::bits;
  const int grid = grid_size(vectors(n), multiprocessors);
  auto* kernel = aligned16(grad) && aligned16(x) && aligned16(grad_x) && aligned(target)
                     ? gankit_bce_label_smoothing_backward_each<T, Form, Target, true>
                     : gankit_bce_label_smoothing_backward_each<T, Form, Target, false>;
  GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(grad),
                static_cast<const Bits*>(x), target, static_cast<Bits*>(grad_x), n, labels);
  return cudaGetLastError();
}

#define GANKIT_INSTANTIATE(T, Form, Target)                                                   \
  template cudaError_t sum_cuda<T, Form, Target>(const void*, const Target&, void*, double*,  \
                                                 int64_t, const Labels<T>&, double, int,      \
                                                 cudaStream_t);                               \
  template cudaError_t each_cuda<T, Form, Target>(const void*, const Target&, void*, int64_t, \
                                                  const Labels<T>&, int, cudaStream_t);       \
  template cudaError_t backward_shared_cuda<T, Form, Target>(                                 \
      const void*, const void*, const Target&, void*, int64_t, const Labels<T>&, double, int, \
      cudaStream_t);                                                                          \
  template cudaError_t backward_each_cuda<T, Form, Target>(const void*, const void*,          \
                                                           const Target&, void*, int64_t,     \
                                                           const Labels<T>&, int, cudaStream_t);

#define GANKIT_INSTANTIATE_FORMS(T)                  \
  GANKIT_INSTANTIATE(T, Logits, ScalarTarget)        \
  GANKIT_INSTANTIATE(T, Logits, BoolTarget)          \
  GANKIT_INSTANTIATE(T, Logits, TensorTarget<T>)     \
  GANKIT_INSTANTIATE(T, Probabilities, ScalarTarget) \
  GANKIT_INSTANTIATE(T, Probabilities, BoolTarget)   \
  GANKIT_INSTANTIATE(T, Probabilities, TensorTarget<T>)

GANKIT_INSTANTIATE_FORMS(Float64)
GANKIT_INSTANTIATE_FORMS(Float32)
GANKIT_INSTANTIATE_FORMS(BFloat16)
GANKIT_INSTANTIATE_FORMS(Float16)

#undef GANKIT_INSTANTIATE_FORMS
#undef GANKIT_INSTANTIATE

}  // namespace gankit::bce_label_smoothing
