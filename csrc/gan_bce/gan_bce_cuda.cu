// CUDA kernels of gan_bce: the first blocks of a launch take the real half, the others the
// generated one. Where one block does for both, it takes them in turn and finishes by itself.
#include "../bce_label_smoothing/bce_label_smoothing_device.h"
#include "gan_bce_cuda.h"

namespace gankit::gan_bce {
namespace {

using bce_label_smoothing::ScalarTarget;
using bce_label_smoothing::store_slopes;
using bce_label_smoothing::thread_sum;

template <class T, class Form, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_gan_bce_sum(Half<T> real, Half<T> fake, int real_blocks, typename T::bits* y,
                       double* sums) {
  const ScalarTarget none;
  const int block = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
  double part = 0;
  if (sums == nullptr || block < real_blocks) {
    const int share = sums == nullptr ? 1 : real_blocks;
    part += real.weight * thread_sum<T, Form, ScalarTarget, kAligned>(real.x, none, real.labels,
                                                                      real.n, block, share);
  }
  if (sums == nullptr || block >= real_blocks) {
    const int first = sums == nullptr ? 0 : real_blocks;
    part += fake.weight * thread_sum<T, Form, ScalarTarget, kAligned>(
                              fake.x, none, fake.labels, fake.n, block - first, blocks - first);
  }
  sum_over_block(part, [&](double sum) {
    if (sums != nullptr) {
      sums[block] = sum;
    } else {
      *y = T::store(static_cast<typename T::compute>(sum));
    }
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gankit_gan_bce_finish(const double* sums, int count, typename T::bits* y) {
  sum_of_blocks(sums, count,
                [&](double sum) { *y = T::store(static_cast<typename T::compute>(sum)); });
}

template <class T, class Form, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_gan_bce_backward(const typename T::bits* __restrict__ grad, Half<T> real, Half<T> fake,
                            int real_blocks, typename T::bits* __restrict__ grad_real,
                            typename T::bits* __restrict__ grad_fake) {
  const bool first_half = static_cast<int>(blockIdx.x) < real_blocks;
  const Half<T> half = first_half ? real : fake;
  const int64_t first = first_half ? 0 : real_blocks;
  const int64_t blocks = first_half ? real_blocks : static_cast<int64_t>(gridDim.x) - real_blocks;
  const auto shared = static_cast<typename T::compute>(T::load(*grad) * half.weight);
  store_slopes<T, Form, ScalarTarget, kAligned>(half.x, ScalarTarget{}, shared,
                                                first_half ? grad_real : grad_fake, half.labels,
                                                half.n, blockIdx.x - first, blocks);
}

// Blocks for one half, and whether one block shall do both.
int half_blocks(int64_t n, int multiprocessors) {
  return grid_size(bce_label_smoothing::vectors(n), multiprocessors);
}

bool one_block(int64_t real, int64_t fake) {
  constexpr int64_t kPass = static_cast<int64_t>(kThreads) * kElements;
  return real <= kPass && fake <= kPass;
}

}  // namespace

int sum_blocks(int64_t real, int64_t fake, int multiprocessors) {
  return half_blocks(real, multiprocessors) + half_blocks(fake, multiprocessors);
}

template <class T, class Form>
cudaError_t forward_cuda(const Half<T>& real, const Half<T>& fake, void* y, double* sums,
                         int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  auto* kernel = aligned16(real.x) && aligned16(fake.x) ? gankit_gan_bce_sum<T, Form, true>
                                                        : gankit_gan_bce_sum<T, Form, false>;
  auto* out = static_cast<Bits*>(y);
  const bool single = one_block(real.n, fake.n);
  const int real_blocks = half_blocks(real.n, multiprocessors);
  const int blocks = single ? 1 : sum_blocks(real.n, fake.n, multiprocessors);
  double* partial = single ? nullptr : sums;
  GANKIT_LAUNCH(kernel, blocks, kThreads, stream, real, fake, real_blocks, out, partial);
  if (!single) {
    auto* finish = gankit_gan_bce_finish<T>;
    const double* parts = sums;
    GANKIT_LAUNCH(finish, 1, kThreads, stream, parts, blocks, out);
  }
  return cudaGetLastError();
}

template <class T, class Form>
cudaError_t backward_cuda(const void* grad, const Half<T>& real, const Half<T>& fake,
                          void* grad_real, void* grad_fake, int multiprocessors,
                          cudaStream_t stream) {
  using Bits = typename T::bits;
  auto* kernel =
      aligned16(real.x) && aligned16(fake.x) && aligned16(grad_real) && aligned16(grad_fake)
          ? gankit_gan_bce_backward<T, Form, true>
          : gankit_gan_bce_backward<T, Form, false>;
  const int real_blocks = half_blocks(real.n, multiprocessors);
  const int blocks = sum_blocks(real.n, fake.n, multiprocessors);
  GANKIT_LAUNCH(kernel, blocks, kThreads, stream, static_cast<const Bits*>(grad), real, fake,
                real_blocks, static_cast<Bits*>(grad_real), static_cast<Bits*>(grad_fake));
  return cudaGetLastError();
}

#define GANKIT_INSTANTIATE(T, Form)                                                               \
  template cudaError_t forward_cuda<T, Form>(const Half<T>&, const Half<T>&, void*, double*, int, \
                                             cudaStream_t);                                       \
  template cudaError_t backward_cuda<T, Form>(const void*, const Half<T>&, const Half<T>&, void*, \
                                              void*, int, cudaStream_t);

#define GANKIT_INSTANTIATE_FORMS(T)                  \
  GANKIT_INSTANTIATE(T, bce_label_smoothing::Logits) \
  GANKIT_INSTANTIATE(T, bce_label_smoothing::Probabilities)

GANKIT_INSTANTIATE_FORMS(Float64)
GANKIT_INSTANTIATE_FORMS(Float32)
GANKIT_INSTANTIATE_FORMS(BFloat16)
GANKIT_INSTANTIATE_FORMS(Float16)

#undef GANKIT_INSTANTIATE_FORMS
#undef GANKIT_INSTANTIATE

}  // namespace gankit::gan_bce
