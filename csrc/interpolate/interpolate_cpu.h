// The CPU kernels, on plain pointers: no torch header, so that the C++ tests build without torch.
#pragma once

#include <cstdint>
#include <vector>

#include "../common/parallel.h"
#include "../common/samples.h"
#include "../common/scale_samples.h"
#include "interpolate_math.h"

namespace gankit::interpolate {

constexpr int64_t kGrain = 16384;  // elements per thread

// One weight per sample, drawn once: a few nanoseconds each.
template <class T>
std::vector<typename T::compute> weights(int64_t count, uint64_t seed, uint64_t stream,
                                         bool of_fake) {
  std::vector<typename T::compute> table(static_cast<size_t>(count));
  for (int64_t first = 0; first < count; first += kSamplesPerBlock) {
    const Philox block =
        philox4x32_10(seed, static_cast<uint64_t>(first / kSamplesPerBlock), stream);
    const int64_t last = std::min(count, first + kSamplesPerBlock);
    for (int64_t i = first; i < last; ++i) {
      table[static_cast<size_t>(i)] = weight<typename T::compute>(word_of(block, i), of_fake);
    }
  }
  return table;
}

// The loops over elements: one weight for all, or one for each.
template <class T>
GANKIT_SIMD_UNFUSED void forward_shared(const typename T::bits* real, const typename T::bits* fake,
                                        typename T::bits* out, typename T::compute e,
                                        int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = forward<T>(real[i], fake[i], e);
}

template <class T>
GANKIT_SIMD_UNFUSED void forward_each(const typename T::bits* real, const typename T::bits* fake,
                                      typename T::bits* out, const typename T::compute* e,
                                      int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = forward<T>(real[i], fake[i], e[i]);
}

// All tensors lie alike: `samples` says how.
template <class T>
void forward_cpu(const typename T::bits* real, const typename T::bits* fake, typename T::bits* out,
                 int64_t n, const Samples& samples, uint64_t seed, uint64_t stream) {
  const auto table = weights<T>(samples.count, seed, stream, false);
  parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for_each_piece(samples, begin, end, [&](int64_t at, int64_t length, int64_t sample) {
      const auto* e = table.data() + sample;
      if (samples.stride == 1) {
        forward_each<T>(real + at, fake + at, out + at, e, length);
      } else {
        forward_shared<T>(real + at, fake + at, out + at, *e, length);
      }
    });
  });
}

template <class T>
void backward_cpu(const typename T::bits* grad, typename T::bits* out, int64_t n,
                  const Samples& samples, uint64_t seed, uint64_t stream, bool of_fake) {
  const auto table = weights<T>(samples.count, seed, stream, of_fake);
  scale_samples<T>(grad, out, n, samples, table.data());
}

}  // namespace gankit::interpolate
