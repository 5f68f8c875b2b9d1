// CUDA kernels of batch_norm_act over the elements, and the launches of all kernels.
#include "../common/cuda_vector.h"
#include "batch_norm_act_cuda.h"
#include "batch_norm_act_cuda_sums.h"

namespace gankit::batch_norm_act {
namespace {

template <class Compute>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_channels(Inputs<Compute> in, int64_t total, int64_t channels,
                                   int64_t length, Compute* arrays) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= total) return;
  const Channel<Compute> c = in.channel(i, channels);
  arrays[i] = c.mean;
  arrays[i + length] = c.inverse;
  arrays[i + 2 * length] = c.scale;
  arrays[i + 3 * length] = c.shift;
  arrays[i + 4 * length] = c.constant;
  arrays[i + 5 * length] = c.linear;
}

// The index [group, channel] along the memory: divided out once per thread and step, then counted
// on. Planes: `run` = positions elements share a channel; rows: each its own.
struct Walk {
  int64_t run, channels, samples;
  Divisor by_run, by_channels, by_samples;

  explicit Walk(const Geometry& g)
      : run(g.channels_last ? 1 : g.positions),
        channels(g.channels),
        samples(g.channels_last ? g.count() : g.samples),
        by_run(run),
        by_channels(g.channels),
        by_samples(samples) {}

  struct Place {
    int64_t within, channel, sample, group;
  };

  __device__ __forceinline__ Place at(int64_t first) const {
    Place p;
    const int64_t plane = by_run.divide(first, p.within);
    const int64_t sample = by_channels.divide(plane, p.channel);
    p.group = by_samples.divide(sample, p.sample);
    return p;
  }

  // Whether the next element belongs to another channel.
  __device__ __forceinline__ bool next(Place& p) const {
    if (++p.within < run) return false;
    p.within = 0;
    if (++p.channel == channels) {
      p.channel = 0;
      if (++p.sample == samples) {
        p.sample = 0;
        ++p.group;
      }
    }
    return true;
  }
};

// How a step of eight elements finds its channels' numbers.
enum Layout {
  kAny,      // one after the other
  kVectors,  // rows of a multiple of eight channels: from memory in 16-byte loads
};

template <class T, int kLayout, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_apply(const typename T::bits* x, typename T::bits* y, int64_t n,
                                Walk walk, const typename T::compute* arrays, int64_t length,
                                Activation activation, typename T::compute slope) {  // y may be x
  using Compute = typename T::compute;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kElements;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kElements;
  for (; first < n; first += stride) {
    typename T::bits in[kElements], out[kElements];
    load8<kAligned>(x, first, n, in);
    Walk::Place place = walk.at(first);
    int64_t index = place.group * walk.channels + place.channel;
    if constexpr (kLayout == kVectors) {
      Compute mean[kElements], scale[kElements], shift[kElements];
      load8<true>(arrays, index, 6 * length, mean);
      load8<true>(arrays + 2 * length, index, 4 * length, scale);
      load8<true>(arrays + 3 * length, index, 3 * length, shift);
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) {
        const Compute z = (T::load(in[j]) - mean[j]) * scale[j] + shift[j];
        out[j] = T::store(activate(activation, z, slope));
      }
    } else {
      Compute mean = arrays[index], scale = arrays[index + 2 * length];
      Compute shift = arrays[index + 3 * length];
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) {
        const Compute z = (T::load(in[j]) - mean) * scale + shift;
        out[j] = T::store(activate(activation, z, slope));
        if (j + 1 < kElements && first + j + 1 < n && walk.next(place)) {
          index = place.group * walk.channels + place.channel;
          mean = arrays[index];
          scale = arrays[index + 2 * length];
          shift = arrays[index + 3 * length];
        }
      }
    }
    store8<kAligned>(y, first, n, out);
  }
}

template <class T>
__device__ __forceinline__ typename T::bits grad_of(typename T::bits grad, typename T::bits x,
                                                    const Channel<typename T::compute>& c,
                                                    Activation activation,
                                                    typename T::compute slope) {
  const auto v = T::load(x) - c.mean;
  const auto h = grad_z(activation, T::load(grad), v * c.scale + c.shift, slope);
  return T::store(h * c.scale - c.constant - v * c.linear);
}

template <class Compute>
__device__ __forceinline__ Channel<Compute> read_channel(const Compute* arrays, int64_t index,
                                                         int64_t length) {
  const Compute* p = arrays + index;
  return {p[0], p[length], p[2 * length], p[3 * length], p[4 * length], p[5 * length]};
}

template <class T, int kLayout, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_grad_input(const typename T::bits* __restrict__ grad,
                                     const typename T::bits* __restrict__ x,
                                     typename T::bits* __restrict__ grad_x, int64_t n, Walk walk,
                                     const typename T::compute* __restrict__ arrays, int64_t length,
                                     Activation activation, typename T::compute slope) {
  using Compute = typename T::compute;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * kElements;
  int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kElements;
  for (; first < n; first += stride) {
    typename T::bits g[kElements], in[kElements], out[kElements];
    load8<kAligned>(grad, first, n, g);
    load8<kAligned>(x, first, n, in);
    Walk::Place place = walk.at(first);
    int64_t index = place.group * walk.channels + place.channel;
    if constexpr (kLayout == kVectors) {
      Compute mean[kElements], scale[kElements], shift[kElements], constant[kElements];
      Compute linear[kElements];
      load8<true>(arrays, index, 6 * length, mean);
      load8<true>(arrays + 2 * length, index, 4 * length, scale);
      load8<true>(arrays + 3 * length, index, 3 * length, shift);
      load8<true>(arrays + 4 * length, index, 2 * length, constant);
      load8<true>(arrays + 5 * length, index, length, linear);
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) {
        const Channel<Compute> c{mean[j], 0, scale[j], shift[j], constant[j], linear[j]};
        out[j] = grad_of<T>(g[j], in[j], c, activation, slope);
      }
    } else {
      Channel<Compute> c = read_channel(arrays, index, length);
      GANKIT_UNROLL
      for (int j = 0; j < kElements; ++j) {
        out[j] = grad_of<T>(g[j], in[j], c, activation, slope);
        if (j + 1 < kElements && first + j + 1 < n && walk.next(place)) {
          index = place.group * walk.channels + place.channel;
          c = read_channel(arrays, index, length);
        }
      }
    }
    store8<kAligned>(grad_x, first, n, out);
  }
}

inline int blocks_for(int64_t threads) {
  return static_cast<int>((threads + kThreads - 1) / kThreads);
}

// Fills the table from `source`; leaves it alone where there is nothing to sum.
template <class Source>
void partial_sums(const Source& source, const Geometry& g, typename Source::Value* table,
                  cudaStream_t stream) {
  const int64_t parts = parts_of(g), entries = g.groups * parts * g.channels;
  if (entries == 0) return;
  if (g.channels_last) {
    auto* kernel = gankit_batch_norm_act_partial_rows<Source>;
    GANKIT_LAUNCH(kernel, blocks_for(entries), kThreads, stream, source, g, parts, table);
  } else {
    auto* kernel = gankit_batch_norm_act_partial_planes<Source>;
    GANKIT_LAUNCH(kernel, static_cast<int>(entries), kThreads, stream, source, g, parts,
                  Divisor(g.positions), table);
  }
}

template <class Compute>
void fill_channels(const Inputs<Compute>& in, const Geometry& g, Compute* arrays,
                   cudaStream_t stream) {
  const int64_t total = g.groups * g.channels;
  auto* kernel = gankit_batch_norm_act_channels<Compute>;
  GANKIT_LAUNCH(kernel, blocks_for(total), kThreads, stream, in, total, g.channels, array_length(g),
                arrays);
}

// Whether eight elements from a multiple of eight on are eight channels of one group.
inline bool whole_vectors(const Geometry& g) {
  return g.channels_last && g.channels % kElements == 0;
}

}  // namespace

template <class T>
cudaError_t statistics_cuda(const void* x, const Geometry& g, void* table,
                            typename T::compute* mean, typename T::compute* var,
                            cudaStream_t stream) {
  using Compute = typename T::compute;
  auto* moments = static_cast<Moments<Compute>*>(table);
  partial_sums(MomentsOf<T>{static_cast<const typename T::bits*>(x)}, g, moments, stream);
  auto* kernel = gankit_batch_norm_act_finish_statistics<Compute>;
  GANKIT_LAUNCH(kernel, static_cast<int>(g.groups * g.channels), kThreads, stream, moments,
                parts_of(g), g.channels, mean, var);
  return cudaGetLastError();
}

template <class T>
cudaError_t sums_cuda(const void* grad, const void* x, const Geometry& g,
                      const Inputs<typename T::compute>& in, Activation activation, void* table,
                      typename T::compute* sum_h, typename T::compute* sum_hx,
                      cudaStream_t stream) {
  using Compute = typename T::compute;
  using Bits = typename T::bits;
  auto* pairs = static_cast<Pair<Compute>*>(table);
  const SumsOf<T> source{
      static_cast<const Bits*>(grad), static_cast<const Bits*>(x), in, g.channels, activation, {}};
  partial_sums(source, g, pairs, stream);
  auto* kernel = gankit_batch_norm_act_finish_partial_sums<Compute>;
  GANKIT_LAUNCH(kernel, static_cast<int>(g.groups * g.channels), kThreads, stream, pairs,
                parts_of(g), g.channels, sum_h, sum_hx);
  return cudaGetLastError();
}

template <class T>
cudaError_t apply_cuda(const void* x, void* y, const Geometry& g,
                       const Inputs<typename T::compute>& in, Activation activation,
                       typename T::compute* arrays, int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int64_t n = g.groups * g.group_elements();
  fill_channels(in, g, arrays, stream);
  const bool aligned = aligned16(x) && aligned16(y);
  auto* kernel = !aligned           ? gankit_batch_norm_act_apply<T, kAny, false>
                 : whole_vectors(g) ? gankit_batch_norm_act_apply<T, kVectors, true>
                                    : gankit_batch_norm_act_apply<T, kAny, true>;
  const int grid = grid_size((n + kElements - 1) / kElements, multiprocessors);
  GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(x), static_cast<Bits*>(y),
                n, Walk(g), arrays, array_length(g), activation, in.slope);
  return cudaGetLastError();
}

template <class T>
cudaError_t grad_input_cuda(const void* grad, const void* x, void* grad_x, const Geometry& g,
                            const Inputs<typename T::compute>& in, Activation activation,
                            typename T::compute* arrays, int multiprocessors, cudaStream_t stream) {
  using Bits = typename T::bits;
  const int64_t n = g.groups * g.group_elements();
  fill_channels(in, g, arrays, stream);
  const bool aligned = aligned16(grad) && aligned16(x) && aligned16(grad_x);
  auto* kernel = !aligned           ? gankit_batch_norm_act_grad_input<T, kAny, false>
                 : whole_vectors(g) ? gankit_batch_norm_act_grad_input<T, kVectors, true>
                                    : gankit_batch_norm_act_grad_input<T, kAny, true>;
  const int grid = grid_size((n + kElements - 1) / kElements, multiprocessors);
  GANKIT_LAUNCH(kernel, grid, kThreads, stream, static_cast<const Bits*>(grad),
                static_cast<const Bits*>(x), static_cast<Bits*>(grad_x), n, Walk(g), arrays,
                array_length(g), activation, in.slope);
  return cudaGetLastError();
}

template <class Compute>
cudaError_t finish_sums_cuda(const Finish<Compute>& finish, cudaStream_t stream) {
  auto* kernel = gankit_batch_norm_act_finish_groups<Compute>;
  GANKIT_LAUNCH(kernel, blocks_for(finish.channels), kThreads, stream, finish);
  return cudaGetLastError();
}

template <class Compute>
cudaError_t update_cuda(Compute* running_mean, int64_t mean_stride, Compute* running_var,
                        int64_t var_stride, const Compute* mean, const Compute* var,
                        const int64_t* batches, double momentum, double correction, int64_t groups,
                        int64_t channels, cudaStream_t stream) {
  auto* kernel = gankit_batch_norm_act_update<Compute>;
  GANKIT_LAUNCH(kernel, blocks_for(channels), kThreads, stream, running_mean, mean_stride,
                running_var, var_stride, mean, var, batches, momentum, correction, groups,
                channels);
  return cudaGetLastError();
}

#define GANKIT_INSTANTIATE(T)                                                                      \
  template cudaError_t statistics_cuda<T>(const void*, const Geometry&, void*, T::compute*,        \
                                          T::compute*, cudaStream_t);                              \
  template cudaError_t sums_cuda<T>(const void*, const void*, const Geometry&,                     \
                                    const Inputs<T::compute>&, Activation, void*, T::compute*,     \
                                    T::compute*, cudaStream_t);                                    \
  template cudaError_t apply_cuda<T>(const void*, void*, const Geometry&,                          \
                                     const Inputs<T::compute>&, Activation, T::compute*, int,      \
                                     cudaStream_t);                                                \
  template cudaError_t grad_input_cuda<T>(const void*, const void*, void*, const Geometry&,        \
                                          const Inputs<T::compute>&, Activation, T::compute*, int, \
                                          cudaStream_t);

GANKIT_INSTANTIATE(Float64)
GANKIT_INSTANTIATE(Float32)
GANKIT_INSTANTIATE(BFloat16)
GANKIT_INSTANTIATE(Float16)

#define GANKIT_INSTANTIATE_WIDE(Compute)                                                          \
  template cudaError_t finish_sums_cuda<Compute>(const Finish<Compute>&, cudaStream_t);           \
  template cudaError_t update_cuda<Compute>(Compute*, int64_t, Compute*, int64_t, const Compute*, \
                                            const Compute*, const int64_t*, double, double,       \
                                            int64_t, int64_t, cudaStream_t);

GANKIT_INSTANTIATE_WIDE(double)
GANKIT_INSTANTIATE_WIDE(float)

}  // namespace gankit::batch_norm_act
