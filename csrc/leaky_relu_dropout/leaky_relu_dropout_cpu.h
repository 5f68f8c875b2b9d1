// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "../common/parallel.h"
#include "../common/philox.h"
#include "../common/philox_cpu.h"
#include "leaky_relu_dropout_math.h"

namespace gankit::leaky_relu_dropout {

// Elements whose draws are made at one go; work is handed to threads in these units.
constexpr int kUnit = kBlocksPerFill * kDrawsPerBlock;
constexpr int64_t kRandomGrain = 32;        // units per thread: a few microseconds of work
constexpr int64_t kStreamingGrain = 16384;  // elements per thread where nothing is drawn

// Where the draws of a unit come from: one per element, or one per (sample, channel).
struct ElementDraws {
  uint64_t seed, stream;

  void fill(uint16_t* draws, int64_t unit, int) const {
    fill_draws(draws, static_cast<uint64_t>(unit) * kBlocksPerFill, seed, stream);
  }
};

struct ChannelDraws {
  const uint16_t* table;  // one draw per (sample, channel), sample-major
  Channels channels;

  void fill(uint16_t* draws, int64_t unit, int count) const {
    int64_t offset = unit * kUnit;
    // channels_last walks along the table; elsewhere all elements up to the next multiple of the
    // smaller stride share one entry of it.
    const bool channels_last = channels.channel_stride == 1;
    const int64_t run = channels_last ? channels.channels
                                      : std::min(channels.sample_stride, channels.channel_stride);
    for (int i = 0; i < count;) {
      const int64_t length = std::min<int64_t>(count - i, run - offset % run);
      const uint16_t* entry = table + channels.of(offset);
      for (int64_t k = 0; k < length; ++k) draws[i + k] = entry[channels_last ? k : 0];
      i += static_cast<int>(length);
      offset += length;
    }
  }
};

inline std::unique_ptr<uint16_t[]> channel_table(const Channels& channels, uint64_t seed,
                                                 uint64_t stream) {
  const int64_t count = channels.samples * channels.channels;
  const int64_t units = (count + kUnit - 1) / kUnit;
  std::unique_ptr<uint16_t[]> table(new uint16_t[static_cast<size_t>(units * kUnit)]);
  const ElementDraws draws{seed, stream};
  parallel_for(0, units, kRandomGrain, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) draws.fill(table.get() + u * kUnit, u, kUnit);
  });
  return table;
}

// The loops over elements stand alone, small enough for the compiler to vectorise each on its own;
// the draws come from fill_draws, which picks its instruction set itself.
template <class T>
GANKIT_SIMD void forward_range(const typename T::bits* x, const uint16_t* draws,
                               typename T::bits* y, Factors<T> f, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = forward<T>(x[i], draws[i], f);
}

template <class T>
GANKIT_SIMD void backward_range(const typename T::bits* grad, const typename T::bits* y,
                                typename T::bits* grad_x, Factors<T> f, int64_t count) {
  for (int64_t i = 0; i < count; ++i) grad_x[i] = backward<T>(grad[i], y[i], f);
}

template <class T>
GANKIT_SIMD void backward_from_input_range(const typename T::bits* grad, const typename T::bits* x,
                                           const uint16_t* draws, typename T::bits* grad_x,
                                           Factors<T> f, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    grad_x[i] = backward_from_input<T>(grad[i], x[i], draws[i], f);
  }
}

// Calls body(draws, offset, count) for every unit of n elements, on all threads.
template <class Draws, class Body>
void for_each_unit(int64_t n, const Draws& source, const Body& body) {
  parallel_for(0, (n + kUnit - 1) / kUnit, kRandomGrain, [&](int64_t begin, int64_t end) {
    alignas(64) uint16_t draws[kUnit];
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t offset = unit * kUnit;
      const int count = static_cast<int>(std::min<int64_t>(kUnit, n - offset));
      source.fill(draws, unit, count);
      body(draws, offset, count);
    }
  });
}

// y may be x: every element is read before it is written.
template <class T, class Draws>
void forward_cpu(const typename T::bits* x, typename T::bits* y, int64_t n, const Draws& source,
                 const Factors<T>& f) {
  for_each_unit(n, source, [&](const uint16_t* draws, int64_t offset, int count) {
    forward_range<T>(x + offset, draws, y + offset, f, count);
  });
}

template <class T>
void backward_cpu(const typename T::bits* grad, const typename T::bits* y, typename T::bits* grad_x,
                  int64_t n, const Factors<T>& f) {
  parallel_for(0, n, kStreamingGrain, [&](int64_t begin, int64_t end) {
    backward_range<T>(grad + begin, y + begin, grad_x + begin, f, end - begin);
  });
}

template <class T, class Draws>
void backward_from_input_cpu(const typename T::bits* grad, const typename T::bits* x,
                             typename T::bits* grad_x, int64_t n, const Draws& source,
                             const Factors<T>& f) {
  for_each_unit(n, source, [&](const uint16_t* draws, int64_t offset, int count) {
    backward_from_input_range<T>(grad + offset, x + offset, draws, grad_x + offset, f, count);
  });
}

}  // namespace gankit::leaky_relu_dropout
