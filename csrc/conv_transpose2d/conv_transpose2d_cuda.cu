// CUDA kernels of conv_transpose2d: one thread per element of the result, in its memory order, so
// that stores coalesce. The fold gathers, so nothing is added atomically and the same input gives
// the same bits; neighbours share what they load through the caches.
#include "../common/cuda_vector.h"
#include "conv_transpose2d_cuda.h"

namespace gankit::conv_transpose2d {
namespace {

// Where element i of a dense [samples, channels, height, width] tensor stands.
struct Walk {
  bool channels_last;
  Divisor channels, height, width;

  Walk(bool channels_last, int64_t channels, int64_t height, int64_t width)
      : channels_last(channels_last), channels(channels), height(height), width(width) {}

  __device__ __forceinline__ void at(int64_t i, int64_t& n, int64_t& c, int64_t& h,
                                     int64_t& w) const {
    if (channels_last) {
      i = channels.divide(i, c);
      i = width.divide(i, w);
      n = height.divide(i, h);
    } else {
      i = width.divide(i, w);
      i = height.divide(i, h);
      n = channels.divide(i, c);
    }
  }
};

template <class T, Activation kind>
__global__ void __launch_bounds__(kThreads)
    gankit_conv_transpose2d_fold(const typename T::bits* __restrict__ columns, Strides columns_at,
                                 const typename T::bits* __restrict__ bias,
                                 typename T::bits* __restrict__ y, int64_t n, Walk walk,
                                 Divisor stride_h, Divisor stride_w, Geometry g,
                                 typename T::compute slope) {
  using Compute = typename T::compute;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    int64_t sample, c, oy, ox, first_ki, first_kj;
    walk.at(i, sample, c, oy, ox);
    const int64_t first_iy = stride_h.divide(oy + g.pad_h, first_ki);
    const int64_t first_ix = stride_w.divide(ox + g.pad_w, first_kj);
    const int64_t k = (c * g.kernel_h + first_ki) * g.kernel_w + first_kj;
    // One tap further in the kernel is one input pixel back.
    const int64_t down = g.stride_h * g.kernel_w * columns_at.c - columns_at.h;
    const int64_t right = g.stride_w * columns_at.c - columns_at.w;
    int64_t row = columns_at.of(sample, k, first_iy, first_ix);
    Compute sum = 0;
    auto iy = first_iy;
    GANKIT_NO_UNROLL
    for (auto ki = static_cast<int>(first_ki); ki < g.kernel_h; ki += g.stride_h) {
      int64_t at = row, ix = first_ix;
      GANKIT_NO_UNROLL
      for (auto kj = static_cast<int>(first_kj); kj < g.kernel_w; kj += g.stride_w) {
        if (iy >= 0 && iy < g.in_h && ix >= 0 && ix < g.in_w) sum += T::load(columns[at]);
        at += right;
        --ix;
      }
      row += down;
      --iy;
    }
    if (bias != nullptr) sum += T::load(bias[c]);
    y[i] = T::store(activate<kind>(sum, slope));
  }
}

template <class T, Activation kind>
__global__ void __launch_bounds__(kThreads)
    gankit_conv_transpose2d_unfold(const typename T::bits* __restrict__ grad, Strides grad_at,
                                   const typename T::bits* __restrict__ y, Strides y_at,
                                   typename T::bits* __restrict__ grad_columns, int64_t n,
                                   Walk walk, Divisor kernel_h, Divisor kernel_w, Geometry g,
                                   typename T::compute slope) {
  using Bits = typename T::bits;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    int64_t sample, k, iy, ix, ki, kj;
    walk.at(i, sample, k, iy, ix);
    const int64_t c = kernel_h.divide(kernel_w.divide(k, kj), ki);
    const int64_t oy = iy * g.stride_h - g.pad_h + ki;
    const int64_t ox = ix * g.stride_w - g.pad_w + kj;
    Bits out = 0;
    if (oy >= 0 && oy < g.out_h && ox >= 0 && ox < g.out_w) {
      out = grad[grad_at.of(sample, c, oy, ox)];
      if constexpr (kind != Activation::kNone) {
        const auto saved = T::load(y[y_at.of(sample, c, oy, ox)]);
        out = T::store(activation_gradient<kind>(T::load(out), saved, slope));
      }
    }
    grad_columns[i] = out;
  }
}

}  // namespace

template <class T, Activation kind>
cudaError_t fold_cuda(const void* columns, const Strides& columns_at, const void* bias, void* y,
                      bool channels_last, const Geometry& g, double negative_slope,
                      int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int64_t n = g.samples * g.channels * g.out_h * g.out_w;
  const Walk walk(channels_last, g.channels, g.out_h, g.out_w);
  auto* kernel = gankit_conv_transpose2d_fold<T, kind>;
  GANKIT_LAUNCH(kernel, grid_size(n, multiprocessors), kThreads, stream,
                static_cast<const Bits*>(columns), columns_at, static_cast<const Bits*>(bias),
                static_cast<Bits*>(y), n, walk, Divisor(g.stride_h), Divisor(g.stride_w), g,
                static_cast<typename T::compute>(negative_slope));
  return cudaGetLastError();
}

template <class T, Activation kind>
cudaError_t unfold_cuda(const void* grad, const Strides& grad_at, const void* y,
                        const Strides& y_at, void* grad_columns, bool channels_last,
                        const Geometry& g, double negative_slope, int multiprocessors,
                        cudaStream_t stream) {
  using Bits = typename T::bits;
  const int64_t n = g.samples * g.columns() * g.in_h * g.in_w;
  const Walk walk(channels_last, g.columns(), g.in_h, g.in_w);
  auto* kernel = gankit_conv_transpose2d_unfold<T, kind>;
  GANKIT_LAUNCH(kernel, grid_size(n, multiprocessors), kThreads, stream,
                static_cast<const Bits*>(grad), grad_at, static_cast<const Bits*>(y), y_at,
                static_cast<Bits*>(grad_columns), n, walk, Divisor(g.kernel_h), Divisor(g.kernel_w),
                g, static_cast<typename T::compute>(negative_slope));
  return cudaGetLastError();
}

#define GANKIT_INSTANTIATE_ACTIVATION(T, kind)                                                    \
  template cudaError_t fold_cuda<T, kind>(const void*, const Strides&, const void*, void*, bool,  \
                                          const Geometry&, double, int, cudaStream_t);            \
  template cudaError_t unfold_cuda<T, kind>(const void*, const Strides&, const void*,             \
                                            const Strides&, void*, bool, const Geometry&, double, \
                                            int, cudaStream_t);
#define GANKIT_INSTANTIATE(T)                              \
  GANKIT_INSTANTIATE_ACTIVATION(T, Activation::kNone)      \
  GANKIT_INSTANTIATE_ACTIVATION(T, Activation::kReLU)      \
  GANKIT_INSTANTIATE_ACTIVATION(T, Activation::kLeakyReLU) \
  GANKIT_INSTANTIATE_ACTIVATION(T, Activation::kTanh)

GANKIT_INSTANTIATE(Float64)
GANKIT_INSTANTIATE(Float32)
GANKIT_INSTANTIATE(BFloat16)
GANKIT_INSTANTIATE(Float16)

}  // namespace gankit::conv_transpose2d
