// CUDA kernels of interpolate: streaming, bound by memory. Where samples are whole vectors of eight
// elements (kAligned), a thread draws once per vector; elsewhere each element draws for itself.
#include "../common/cuda_samples.h"
#include "interpolate_cuda.h"
#include "interpolate_math.h"

namespace gankit::interpolate {
namespace {

struct Draw {
  uint64_t seed, stream;

  template <class Compute>
  __device__ __forceinline__ Compute weight_of(int64_t sample, bool of_fake) const {
    const Philox block =
        philox4x32_10(seed, static_cast<uint64_t>(sample) / kSamplesPerBlock, stream);
    return weight<Compute>(word_of(block, sample), of_fake);
  }
};

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_interpolate_forward(const typename T::bits* __restrict__ real,
                               const typename T::bits* __restrict__ fake,
                               typename T::bits* __restrict__ out, int64_t n, const int64_t* seed,
                               uint64_t stream, SampleIndex samples) {
  using Compute = typename T::compute;
  constexpr int kStep = kAligned ? kElements : 1;
  const Draw draw{static_cast<uint64_t>(*seed), stream};
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kStep;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kStep;
  for (; first < n; first += stride) {
    const Compute e = draw.weight_of<Compute>(samples.of(first), false);
    if constexpr (kAligned) {
      typename T::bits a[kElements], b[kElements], result[kElements];
      load8<true>(real, first, n, a);
      load8<true>(fake, first, n, b);
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) result[j] = forward<T>(a[j], b[j], e);
      store8<true>(out, first, n, result);
    } else {
      out[first] = forward<T>(real[first], fake[first], e);
    }
  }
}

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_interpolate_backward(const typename T::bits* __restrict__ grad,
                                typename T::bits* __restrict__ out, int64_t n, const int64_t* seed,
                                uint64_t stream, SampleIndex samples, bool of_fake) {
  using Compute = typename T::compute;
  constexpr int kStep = kAligned ? kElements : 1;
  const Draw draw{static_cast<uint64_t>(*seed), stream};
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kStep;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kStep;
  for (; first < n; first += stride) {
    const Compute factor = draw.weight_of<Compute>(samples.of(first), of_fake);
    if constexpr (kAligned) {
      typename T::bits g[kElements], result[kElements];
      load8<true>(grad, first, n, g);
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) result[j] = backward<T>(g[j], factor);
      store8<true>(out, first, n, result);
    } else {
      out[first] = backward<T>(grad[first], factor);
    }
  }
}

inline int64_t steps(int64_t n, bool whole) {
  return whole ? (n + kElements - 1) / kElements : n;
}

}  // namespace

template <class T>
cudaError_t forward_cuda(const void* real, const void* fake, void* out, int64_t n,
                         const Samples& samples, const int64_t* seed, int64_t stream_id,
                         int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const bool whole =
      vectors_stay_inside(samples) && aligned16(real) && aligned16(fake) && aligned16(out);
  auto* kernel = whole ? gankit_interpolate_forward<T, true> : gankit_interpolate_forward<T, false>;
  GANKIT_LAUNCH(kernel, grid_size(steps(n, whole), multiprocessors), kThreads, stream,
                static_cast<const Bits*>(real), static_cast<const Bits*>(fake),
                static_cast<Bits*>(out), n, seed, static_cast<uint64_t>(stream_id),
                SampleIndex(samples));
  return cudaGetLastError();
}

template <class T>
cudaError_t backward_cuda(const void* grad, void* out, int64_t n, const Samples& samples,
                          const int64_t* seed, int64_t stream_id, bool of_fake, int multiprocessors,
                          cudaStream_t stream) {
  using Bits = typename T::bits;
  const bool whole = vectors_stay_inside(samples) && aligned16(grad) && aligned16(out);
  auto* kernel =
      whole ? gankit_interpolate_backward<T, true> : gankit_interpolate_backward<T, false>;
  GANKIT_LAUNCH(kernel, grid_size(steps(n, whole), multiprocessors), kThreads, stream,
                static_cast<const Bits*>(grad), static_cast<Bits*>(out), n, seed,
                static_cast<uint64_t>(stream_id), SampleIndex(samples), of_fake);
  return cudaGetLastError();
}

#define GANKIT_INSTANTIATE(T)                                                                    \
  template cudaError_t forward_cuda<T>(const void*, const void*, void*, int64_t, const Samples&, \
                                       const int64_t*, int64_t, int, cudaStream_t);              \
  template cudaError_t backward_cuda<T>(const void*, void*, int64_t, const Samples&,             \
                                        const int64_t*, int64_t, bool, int, cudaStream_t);

GANKIT_INSTANTIATE(Float64)
GANKIT_INSTANTIATE(Float32)
GANKIT_INSTANTIATE(BFloat16)
GANKIT_INSTANTIATE(Float16)

}  // namespace gankit::interpolate
