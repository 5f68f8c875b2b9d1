// Philox4x32-10 against the known answers that Random123 publishes, and the order of the draws.
#include "check.h"

#include <vector>

#include "common/philox.h"
#include "common/philox_cpu.h"

namespace {

using gankit::Philox;
using gankit::philox4x32_10;

uint64_t pair(uint32_t low, uint32_t high) {
  return low | static_cast<uint64_t>(high) << 32;
}

void known_answer(const uint32_t counter[4], const uint32_t key[2], const uint32_t expected[4]) {
  const Philox block = philox4x32_10(pair(key[0], key[1]), pair(counter[0], counter[1]),
                                     pair(counter[2], counter[3]));
  for (int w = 0; w < 4; ++w) CHECK_AT(block.word[w] == expected[w], w);
}

void known_answers() {
  const uint32_t zeros[] = {0, 0, 0, 0};
  const uint32_t zeros_out[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  known_answer(zeros, zeros, zeros_out);

  const uint32_t ones[] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
  const uint32_t ones_out[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  known_answer(ones, ones, ones_out);

  const uint32_t pi[] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  const uint32_t pi_key[] = {0xa4093822, 0x299f31d0};
  const uint32_t pi_out[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  known_answer(pi, pi_key, pi_out);
}

void order_of_draws() {
  const Philox block{{0x00010002, 0x00030004, 0x00050006, 0x00070008}};
  const uint32_t expected[] = {2, 1, 4, 3, 6, 5, 8, 7};
  for (int j = 0; j < gankit::kDrawsPerBlock; ++j) {
    CHECK_AT(gankit::draw16(block, j) == expected[j], j);
  }
}

// Every vector implementation that this CPU runs, over the ends of both halves of the counter.
void vector_implementations() {
  int count = 0;
  const gankit::FillDraws* implementations = gankit::fill_draws_implementations(&count);
  const uint64_t blocks[] = {0, 1, 64, 0xfffffff0ull, 0x100000000ull, 0xffffffffffffffe0ull};
  const uint64_t keys[] = {0, 0x9876543210abcdefull, ~0ull};
  const int draws_per_fill = gankit::kBlocksPerFill * gankit::kDrawsPerBlock;
  for (int i = 0; i < count; ++i) {
    if (!implementations[i].supported) continue;
    std::printf("fill_draws on %s\n", implementations[i].isa);
    for (const uint64_t block : blocks) {
      for (const uint64_t key : keys) {
        const uint64_t stream = ~key;
        std::vector<uint16_t> draws(static_cast<size_t>(draws_per_fill));
        implementations[i].run(draws.data(), block, key, stream);
        for (int j = 0; j < draws_per_fill; ++j) {
          const Philox words =
              philox4x32_10(key, block + static_cast<uint64_t>(j / gankit::kDrawsPerBlock), stream);
          CHECK_AT(
              draws[static_cast<size_t>(j)] == gankit::draw16(words, j % gankit::kDrawsPerBlock),
              j);
        }
      }
    }
  }
  CHECK(count > 0 && implementations[count - 1].supported);
}

}  // namespace

int main() {
  known_answers();
  order_of_draws();
  vector_implementations();
  return gankit_test::finish();
}
