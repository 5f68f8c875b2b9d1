// The sample of an element, on the device and for vectors of elements.
#pragma once

#include <cstdint>

#include "cuda_vector.h"
#include "samples.h"

namespace gankit {

struct SampleIndex {
  Divisor stride, count;

  explicit SampleIndex(const Samples& samples) : stride(samples.stride), count(samples.count) {}

  __device__ __forceinline__ int64_t of(int64_t offset) const {
    int64_t within, sample;
    count.divide(stride.divide(offset, within), sample);
    return sample;
  }
};

// Whether every vector of kElements that starts at a multiple of it lies inside one sample.
inline bool vectors_stay_inside(const Samples& samples) {
  return samples.stride % kElements == 0;
}

}  // namespace gankit
