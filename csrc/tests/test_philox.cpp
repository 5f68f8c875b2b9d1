// Philox4x32-10 against the known answers that Random123 publishes, and the order of the draws.
#include "check.h"

#include "common/philox.h"

namespace {

using gankit::Philox;
using gankit::philox4x32_10;

uint64_t pair(uint32_t low, uint32_t high) { return low | static_cast<uint64_t>(high) << 32; }

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

}  // namespace

int main() {
  known_answers();
  order_of_draws();
  return gankit_test::finish();
}
