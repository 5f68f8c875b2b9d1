// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../common/parallel.h"
#include "../common/philox.h"
#include "leaky_relu_dropout_math.h"

namespace gankit::leaky_relu_dropout {

// Elements whose draws are made at one go: few enough for the first-level cache, and a multiple of
// the widest vector. Work is handed to threads in these units.
constexpr int kUnit = 512;
constexpr int64_t kRandomGrain = 16;       // units per thread: about 10 us of work
constexpr int64_t kStreamingGrain = 16384; // elements per thread where nothing is drawn

// The draws of `count` Philox blocks starting at `block`, as the halves lie in memory.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "halves are stored low first");
template <int kBlocks>
GANKIT_HD void draw_blocks(uint16_t* draws, int64_t block, uint64_t seed, uint64_t stream) {
  uint32_t words[4][kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    const Philox r = philox4x32_10(seed, static_cast<uint64_t>(block) + i, stream);
    for (int w = 0; w < 4; ++w) words[w][i] = r.word[w];
  }
  uint32_t interleaved[4 * kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    for (int w = 0; w < 4; ++w) interleaved[4 * i + w] = words[w][i];
  }
  std::memcpy(draws, interleaved, sizeof(interleaved));
}

// Where the draws of a unit come from: one per element, or one per (sample, channel).
struct ElementDraws {
  uint64_t seed, stream;

  GANKIT_HD void fill(uint16_t* draws, int64_t unit, int) const {
    draw_blocks<kUnit / kDrawsPerBlock>(draws, unit * (kUnit / kDrawsPerBlock), seed, stream);
  }
};

struct ChannelDraws {
  const uint16_t* table;  // one draw per (sample, channel), sample-major
  Channels channels;

  GANKIT_HD void fill(uint16_t* draws, int64_t unit, int count) const {
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

inline std::vector<uint16_t> channel_table(const Channels& channels, uint64_t seed,
                                           uint64_t stream) {
  const int64_t count = channels.samples * channels.channels;
  const int64_t units = (count + kUnit - 1) / kUnit;
  std::vector<uint16_t> table(static_cast<size_t>(units * kUnit));
  const ElementDraws draws{seed, stream};
  for (int64_t u = 0; u < units; ++u) draws.fill(table.data() + u * kUnit, u, kUnit);
  return table;
}

template <class T, class Draws>
GANKIT_SIMD void forward_units(const typename T::bits* x, typename T::bits* y, int64_t n,
                               Draws source, Factors<T> f, int64_t begin, int64_t end) {
  alignas(64) uint16_t draws[kUnit];
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t offset = unit * kUnit;
    const int count = static_cast<int>(std::min<int64_t>(kUnit, n - offset));
    source.fill(draws, unit, count);
    for (int i = 0; i < count; ++i) y[offset + i] = forward<T>(x[offset + i], draws[i], f);
  }
}

template <class T, class Draws>
GANKIT_SIMD void backward_from_input_units(const typename T::bits* grad,
                                           const typename T::bits* x, typename T::bits* grad_x,
                                           int64_t n, Draws source, Factors<T> f, int64_t begin,
                                           int64_t end) {
  alignas(64) uint16_t draws[kUnit];
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t offset = unit * kUnit;
    const int count = static_cast<int>(std::min<int64_t>(kUnit, n - offset));
    source.fill(draws, unit, count);
    for (int i = 0; i < count; ++i) {
      grad_x[offset + i] = backward_from_input<T>(grad[offset + i], x[offset + i], draws[i], f);
    }
  }
}

template <class T>
GANKIT_SIMD void backward_range(const typename T::bits* grad, const typename T::bits* y,
                                typename T::bits* grad_x, Factors<T> f, int64_t begin,
                                int64_t end) {
  for (int64_t i = begin; i < end; ++i) grad_x[i] = backward<T>(grad[i], y[i], f);
}

// y may be x: every element is read before it is written.
template <class T, class Draws>
void forward_cpu(const typename T::bits* x, typename T::bits* y, int64_t n, const Draws& draws,
                 const Factors<T>& f) {
  parallel_for(0, (n + kUnit - 1) / kUnit, kRandomGrain, [&](int64_t begin, int64_t end) {
    forward_units<T, Draws>(x, y, n, draws, f, begin, end);
  });
}

template <class T>
void backward_cpu(const typename T::bits* grad, const typename T::bits* y,
                  typename T::bits* grad_x, int64_t n, const Factors<T>& f) {
  parallel_for(0, n, kStreamingGrain, [&](int64_t begin, int64_t end) {
    backward_range<T>(grad, y, grad_x, f, begin, end);
  });
}

template <class T, class Draws>
void backward_from_input_cpu(const typename T::bits* grad, const typename T::bits* x,
                             typename T::bits* grad_x, int64_t n, const Draws& draws,
                             const Factors<T>& f) {
  parallel_for(0, (n + kUnit - 1) / kUnit, kRandomGrain, [&](int64_t begin, int64_t end) {
    backward_from_input_units<T, Draws>(grad, x, grad_x, n, draws, f, begin, end);
  });
}

}  // namespace gankit::leaky_relu_dropout
