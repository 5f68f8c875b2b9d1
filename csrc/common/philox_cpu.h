// The draws of many Philox blocks at once, on the widest vectors the CPU has.
#pragma once

#include <cstdint>

namespace gankit {

// Blocks that one call makes: 512 draws, which stay in the first-level cache.
constexpr int kBlocksPerFill = 64;

// Writes the 8 * kBlocksPerFill draws of blocks `block`, `block` + 1, ... in the order of draw16.
void fill_draws(uint16_t* draws, uint64_t block, uint64_t seed, uint64_t stream);

// One implementation of fill_draws and whether this CPU runs it; the tests go through all.
struct FillDraws {
  const char* isa;
  bool supported;
  void (*run)(uint16_t* draws, uint64_t block, uint64_t seed, uint64_t stream);
};

// Widest first; the last one runs everywhere. `count` gets the length.
const FillDraws* fill_draws_implementations(int* count);

}  // namespace gankit
