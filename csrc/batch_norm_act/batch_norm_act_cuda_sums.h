// CUDA kernels that sum over channels. Sums go through a table of partial results in a fixed order
// and without atomics, so the same input gives the same bits.
#pragma once

#include "../common/cuda_vector.h"
#include "batch_norm_act_cuda.h"

namespace gankit::batch_norm_act {
namespace {

static_assert(kSumThreads == kThreads, "a block's threads share one part of a channel");

template <class Real>
struct Pair {
  Real h = 0, hx = 0;

  GANKIT_HD void add(const Pair& other) {
    h += other.h;
    hx += other.hx;
  }
};

#if !defined(GANKIT_BLOCK_REDUCE_EMULATED)  // the C++ tests bring their own, without shuffles
template <class Real>
__device__ __forceinline__ Moments<Real> down(const Moments<Real>& m, int offset) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  return {__shfl_down_sync(kAll, m.count, offset), __shfl_down_sync(kAll, m.mean, offset),
          __shfl_down_sync(kAll, m.deviations, offset)};
}

template <class Real>
__device__ __forceinline__ Pair<Real> down(const Pair<Real>& p, int offset) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  return {__shfl_down_sync(kAll, p.h, offset), __shfl_down_sync(kAll, p.hx, offset)};
}

// Joins the `value` of every thread of a block and calls use(total) in one of them.
template <class V, class F>
__device__ __forceinline__ void block_reduce(V value, const F& use) {
  constexpr int kWarp = 32;
  constexpr int kWarps = kThreads / kWarp;
  __shared__ unsigned char memory[kWarps * sizeof(V)] __attribute__((aligned(16)));
  V* warps = reinterpret_cast<V*>(memory);
  GANKIT_UNROLL
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value.add(down(value, offset));
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  value = threadIdx.x < kWarps ? warps[threadIdx.x] : V{};
  GANKIT_UNROLL
  for (int offset = kWarps / 2; offset > 0; offset /= 2) value.add(down(value, offset));
  if (threadIdx.x == 0) use(value);
}
#endif

// A thread's share of one channel: sums about its first value.
template <class T>
struct MomentsOf {
  using Compute = typename T::compute;
  using Value = Moments<Compute>;
  const typename T::bits* x;

  struct State {
    Compute count = 0, shift = 0, sum = 0, squares = 0;
  };

  __device__ __forceinline__ void add(State& s, int64_t i) const {
    const Compute value = T::load(x[i]);
    if (s.count == 0) s.shift = value;
    const Compute v = value - s.shift;
    s.count += 1;
    s.sum += v;
    s.squares += v * v;
  }

  __device__ __forceinline__ void begin(int64_t) {}

  __device__ __forceinline__ Value finish(const State& s) const {
    return moments_of(s.count, s.shift, s.sum, s.squares);
  }
};

template <class T>
struct SumsOf {
  using Compute = typename T::compute;
  using Value = Pair<Compute>;
  using State = Value;
  const typename T::bits *grad, *x;
  Inputs<Compute> in;
  int64_t channels;
  Activation activation;
  Channel<Compute> c;

  __device__ __forceinline__ void begin(int64_t index) { c = in.channel(index, channels); }

  __device__ __forceinline__ void add(State& s, int64_t i) const {
    const Compute v = T::load(x[i]) - c.mean;
    const Compute h = grad_z(activation, T::load(grad[i]), v * c.scale + c.shift, in.slope);
    s.h += h;
    s.hx += h * (v * c.inverse);
  }

  __device__ __forceinline__ Value finish(const State& s) const { return s; }
};

// One block for one part of one channel; table is [groups, parts, channels].
template <class Source>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_partial_planes(Source source, Geometry g, int64_t parts,
                                         Divisor positions, typename Source::Value* table) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) % g.channels;
  const int64_t part = static_cast<int64_t>(blockIdx.x) / g.channels;  // across the groups
  const int64_t group = part / parts;
  source.begin(group * g.channels + c);
  constexpr int64_t kEach = kValuesPerThread * kSumThreads;
  const int64_t first = (part % parts) * kEach, count = g.count();
  const int64_t last = first + kEach < count ? first + kEach : count;
  const int64_t start = group * g.group_elements() + c * g.positions;
  typename Source::State state;
  for (int64_t i = first + threadIdx.x; i < last; i += kThreads) {
    int64_t position = 0;
    const int64_t sample = positions.divide(i, position);
    source.add(state, start + sample * g.channels * g.positions + position);
  }
  typename Source::Value* target = table + blockIdx.x;
  block_reduce(source.finish(state), [=](const typename Source::Value& total) { *target = total; });
}

// One thread for a stripe of rows of one channel: neighbours read neighbouring channels.
template <class Source>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_partial_rows(Source source, Geometry g, int64_t parts,
                                       typename Source::Value* table) {
  const int64_t id = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (id >= g.groups * parts * g.channels) return;
  const int64_t c = id % g.channels, part = id / g.channels, group = part / parts;
  source.begin(group * g.channels + c);
  const int64_t first = (part % parts) * kValuesPerThread, count = g.count();
  const int64_t last = first + kValuesPerThread < count ? first + kValuesPerThread : count;
  const int64_t start = group * g.group_elements() + c;
  typename Source::State state;
  for (int64_t row = first; row < last; ++row) source.add(state, start + row * g.channels);
  table[id] = source.finish(state);
}

// One block for each channel of each group.
template <class Compute>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_finish_statistics(const Moments<Compute>* table, int64_t parts,
                                            int64_t channels, Compute* mean, Compute* var) {
  const int64_t index = blockIdx.x;
  const int64_t c = index % channels, group = index / channels;
  Moments<double> total;
  for (int64_t p = threadIdx.x; p < parts; p += kThreads) {
    const Moments<Compute> m = table[(group * parts + p) * channels + c];
    total.add({static_cast<double>(m.count), static_cast<double>(m.mean),
               static_cast<double>(m.deviations)});
  }
  block_reduce(total, [=](const Moments<double>& all) {
    mean[index] = static_cast<Compute>(all.mean);
    var[index] = static_cast<Compute>(all.count == 0 ? 0.0 : all.deviations / all.count);
  });
}

template <class Compute>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_finish_partial_sums(const Pair<Compute>* table, int64_t parts,
                                              int64_t channels, Compute* sum_h, Compute* sum_hx) {
  const int64_t index = blockIdx.x;
  const int64_t c = index % channels, group = index / channels;
  Pair<double> total;
  for (int64_t p = threadIdx.x; p < parts; p += kThreads) {
    const Pair<Compute> m = table[(group * parts + p) * channels + c];
    total.add({static_cast<double>(m.h), static_cast<double>(m.hx)});
  }
  block_reduce(total, [=](const Pair<double>& all) {
    sum_h[index] = static_cast<Compute>(all.h);
    sum_hx[index] = static_cast<Compute>(all.hx);
  });
}

template <class Compute>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_finish_groups(Finish<Compute> finish) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c < finish.channels) finish.channel(c);
}

template <class Compute>
__global__ void __launch_bounds__(kThreads)
    gankit_batch_norm_act_update(Compute* running_mean, int64_t mean_stride, Compute* running_var,
                                 int64_t var_stride, const Compute* mean, const Compute* var,
                                 const int64_t* batches, double momentum, double correction,
                                 int64_t groups, int64_t channels) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= channels) return;
  double m = running_mean[c * mean_stride], v = running_var[c * var_stride];
  const int64_t seen = batches == nullptr ? 0 : *batches;
  GANKIT_NO_UNROLL
  for (int64_t group = 0; group < groups; ++group) {
    const double step = batches == nullptr ? momentum : 1.0 / static_cast<double>(seen + group + 1);
    m = (1 - step) * m + step * mean[group * channels + c];
    v = (1 - step) * v + step * correction * var[group * channels + c];
  }
  running_mean[c * mean_stride] = static_cast<Compute>(m);
  running_var[c * var_stride] = static_cast<Compute>(v);
}

}  // namespace
}  // namespace gankit::batch_norm_act
