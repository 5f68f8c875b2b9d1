// Philox4x32-10, the counter-based random number generator of Salmon, Moraes, Dror and Shaw,
// "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Any word of the stream is a pure
// function of (key, counter), so every backend draws the same bits in any order.
#pragma once

#include <cstdint>

#include "simd.h"

namespace gankit {

// Elements that share one Philox block: eight 16-bit halves of four 32-bit words.
constexpr int kDrawsPerBlock = 8;

struct Philox {
  uint32_t word[4];
};

GANKIT_HD Philox philox4x32_10(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t x0 = static_cast<uint32_t>(counter_low);
  uint32_t x1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t x2 = static_cast<uint32_t>(counter_high);
  uint32_t x3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  GANKIT_UNROLL
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * x0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * x2;
    x0 = static_cast<uint32_t>(p1 >> 32) ^ x1 ^ k0;
    x1 = static_cast<uint32_t>(p1);
    x2 = static_cast<uint32_t>(p0 >> 32) ^ x3 ^ k1;
    x3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{x0, x1, x2, x3}};
}

// Draw j (0 to 7) of a block: half j % 2, low half first, of word j / 2.
GANKIT_HD uint32_t draw16(const Philox& block, int j) {
  return (block.word[j / 2] >> (16 * (j % 2))) & 0xFFFFu;
}

}  // namespace gankit
