// CUDA kernels of leaky_relu_dropout: streaming, bound by memory. One thread handles one Philox
// block of eight elements per step, so a draw costs an eighth of a generator call.
#include "../common/cuda_vector.h"
#include "../common/philox.h"
#include "leaky_relu_dropout_cuda.h"

namespace gankit::leaky_relu_dropout {
namespace {

static_assert(kElements == kDrawsPerBlock, "a thread's elements share one Philox block");

struct PerElement {
  uint64_t seed, stream;

  __device__ __forceinline__ Philox draws(int64_t first) const {
    return philox4x32_10(seed, static_cast<uint64_t>(first) / kElements, stream);
  }
};

struct PerChannel {
  uint64_t seed, stream;
  Channels layout;
  Divisor sample_stride, samples, channel_stride, channels;

  PerChannel(uint64_t stream, const Channels& c)
      : seed(0),
        stream(stream),
        layout(c),
        sample_stride(c.sample_stride),
        samples(c.samples),
        channel_stride(c.channel_stride),
        channels(c.channels) {}

  // Coordinates are divided out once and then counted on. Neighbours mostly share a channel
  // (contiguous) or a Philox block (channels_last): a new block is generated only where the walk
  // leaves the last one. The draws are shifted into the place where draw16 looks for them, because
  // an array with a run-time index would lie in local memory; unrolled, the loop would hold eight
  // copies of the generator.
  __device__ __forceinline__ Philox draws(int64_t first) const {
    int64_t within_sample, within_channel;
    int64_t sample = sample_stride.divide(first, within_sample);
    int64_t channel = channel_stride.divide(first, within_channel);
    samples.divide(sample, sample);
    channels.divide(channel, channel);
    int64_t current = -1;
    Philox words{}, packed{};
    GANKIT_NO_UNROLL
    for (int j = 0; j < kElements; ++j) {
      const int64_t number = sample * layout.channels + channel;
      if (number / kDrawsPerBlock != current) {
        current = number / kDrawsPerBlock;
        words = philox4x32_10(seed, static_cast<uint64_t>(current), stream);
      }
      const int half = static_cast<int>(number % kDrawsPerBlock);
      const uint32_t low = half < 2 ? words.word[0] : words.word[1];
      const uint32_t high = half < 6 ? words.word[2] : words.word[3];
      const uint32_t draw = (half < 4 ? low : high) >> (16 * (half % 2));
      GANKIT_UNROLL
      for (int w = 0; w < 4; ++w) {
        const uint32_t next = w < 3 ? packed.word[w + 1] : draw;
        packed.word[w] = (packed.word[w] >> 16) | (next << 16);
      }
      if (++within_sample == layout.sample_stride) {
        within_sample = 0;
        sample = sample + 1 == layout.samples ? 0 : sample + 1;
      }
      if (++within_channel == layout.channel_stride) {
        within_channel = 0;
        channel = channel + 1 == layout.channels ? 0 : channel + 1;
      }
    }
    return packed;
  }
};

template <class T, class Draws, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_leaky_relu_dropout_forward(const typename T::bits* x, typename T::bits* y, int64_t n,
                                      const int64_t* seed, Draws source,
                                      Factors<T> f) {  // y may be x
  source.seed = static_cast<uint64_t>(*seed);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kElements;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kElements;
  for (; first < n; first += stride) {
    typename T::bits in[kElements], out[kElements];
    load8<kAligned>(x, first, n, in);
    const Philox draws = source.draws(first);
    GANKIT_UNROLL
    for (int j = 0; j < kElements; ++j) out[j] = forward<T>(in[j], draw16(draws, j), f);
    store8<kAligned>(y, first, n, out);
  }
}

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_leaky_relu_dropout_backward(const typename T::bits* __restrict__ grad,
                                       const typename T::bits* __restrict__ y,
                                       typename T::bits* __restrict__ grad_x, int64_t n,
                                       Factors<T> f) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kElements;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kElements;
  for (; first < n; first += stride) {
    typename T::bits g[kElements], saved[kElements], out[kElements];
    load8<kAligned>(grad, first, n, g);
    load8<kAligned>(y, first, n, saved);
    GANKIT_UNROLL
    for (int j = 0; j < kElements; ++j) out[j] = backward<T>(g[j], saved[j], f);
    store8<kAligned>(grad_x, first, n, out);
  }
}

template <class T, class Draws, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_leaky_relu_dropout_backward_from_input(const typename T::bits* __restrict__ grad,
                                                  const typename T::bits* __restrict__ x,
                                                  typename T::bits* __restrict__ grad_x, int64_t n,
                                                  const int64_t* seed, Draws source, Factors<T> f) {
  source.seed = static_cast<uint64_t>(*seed);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kElements;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kElements;
  for (; first < n; first += stride) {
    typename T::bits g[kElements], in[kElements], out[kElements];
    load8<kAligned>(grad, first, n, g);
    load8<kAligned>(x, first, n, in);
    const Philox draws = source.draws(first);
    GANKIT_UNROLL
    for (int j = 0; j < kElements; ++j) {
      out[j] = backward_from_input<T>(g[j], in[j], draw16(draws, j), f);
    }
    store8<kAligned>(grad_x, first, n, out);
  }
}

// Calls f(draws) with the source that `channels` asks for.
template <class F>
cudaError_t with_draws(int64_t stream_id, const Channels* channels, const F& f) {
  const auto substream = static_cast<uint64_t>(stream_id);
  if (channels == nullptr) return f(PerElement{0, substream});
  return f(PerChannel(substream, *channels));
}

inline int64_t vectors(int64_t n) {
  return (n + kElements - 1) / kElements;
}

}  // namespace

template <class T>
cudaError_t forward_cuda(const void* x, void* y, int64_t n, const int64_t* seed, int64_t stream_id,
                         const Factors<T>& factors, const Channels* channels, int multiprocessors,
                         cudaStream_t stream) {
  using Bits = typename T::bits;
  const int grid = grid_size(vectors(n), multiprocessors);
  const auto* in = static_cast<const Bits*>(x);
  auto* out = static_cast<Bits*>(y);
  return with_draws(stream_id, channels, [&](auto source) {
    using Draws = decltype(source);
    auto* kernel = aligned16(x) && aligned16(y)
                       ? gankit_leaky_relu_dropout_forward<T, Draws, true>
                       : gankit_leaky_relu_dropout_forward<T, Draws, false>;
    GANKIT_LAUNCH(kernel, grid, kThreads, stream, in, out, n, seed, source, factors);
    return cudaGetLastError();
  });
}

template <class T>
cudaError_t backward_cuda(const void* grad, const void* y, void* grad_x, int64_t n,
                          const Factors<T>& factors, int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int grid = grid_size(vectors(n), multiprocessors);
  auto* kernel = aligned16(grad) && aligned16(y) && aligned16(grad_x)
                     ? gankit_leaky_relu_dropout_backward<T, true>
                     : gankit_leaky_relu_dropout_backward<T, false>;
  GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(grad),
                static_cast<const Bits*>(y), static_cast<Bits*>(grad_x), n, factors);
  return cudaGetLastError();
}

template <class T>
cudaError_t backward_from_input_cuda(const void* grad, const void* x, void* grad_x, int64_t n,
                                     const int64_t* seed, int64_t stream_id,
                                     const Factors<T>& factors, const Channels* channels,
                                     int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int grid = grid_size(vectors(n), multiprocessors);
  return with_draws(stream_id, channels, [&](auto source) {
    using Draws = decltype(source);
    auto* kernel = aligned16(grad) && aligned16(x) && aligned16(grad_x)
                       ? gankit_leaky_relu_dropout_backward_from_input<T, Draws, true>
                       : gankit_leaky_relu_dropout_backward_from_input<T, Draws, false>;
    GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(grad),
                  static_cast<const Bits*>(x), static_cast<Bits*>(grad_x), n, seed, source,
                  factors);
    return cudaGetLastError();
  });
}

#define GANKIT_INSTANTIATE(T)                                                                  \
  template cudaError_t forward_cuda<T>(const void*, void*, int64_t, const int64_t*, int64_t,   \
                                       const Factors<T>&, const Channels*, int, cudaStream_t); \
  template cudaError_t backward_cuda<T>(const void*, const void*, void*, int64_t,              \
                                        const Factors<T>&, int, cudaStream_t);                 \
  template cudaError_t backward_from_input_cuda<T>(const void*, const void*, void*, int64_t,   \
                                                   const int64_t*, int64_t, const Factors<T>&, \
                                                   const Channels*, int, cudaStream_t);

GANKIT_INSTANTIATE(Float64)
GANKIT_INSTANTIATE(Float32)
GANKIT_INSTANTIATE(BFloat16)
GANKIT_INSTANTIATE(Float16)

}  // namespace gankit::leaky_relu_dropout
