// Which sample (index along the first dimension) an element of a dense tensor belongs to.
#pragma once

#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace gankit {

// In a dense layout the coordinate along a dimension is (offset / stride) % size, whatever the
// order of the dimensions.
struct Samples {
  int64_t count, stride;

  GANKIT_HD int64_t of(int64_t offset) const { return offset / stride % count; }
};

// Cuts [begin, end) where a vectorised loop has to stop: calls body(offset, length, sample). All
// elements of a piece belong to `sample`, or, where the stride is one, to it and those after it.
template <class Body>
inline void for_each_piece(const Samples& samples, int64_t begin, int64_t end, const Body& body) {
  const int64_t run = samples.stride == 1 ? samples.count : samples.stride;
  for (int64_t offset = begin; offset < end;) {
    const int64_t length = std::min(end - offset, run - offset % run);
    body(offset, length, samples.of(offset));
    offset += length;
  }
}

}  // namespace gankit
