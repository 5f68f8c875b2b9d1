// The CUDA kernels of leaky_relu_dropout, run thread by thread on the host, against the CPU
// kernels: tails, misaligned pointers, several grid strides, channel dropout in each layout.
#include "check.h"
#include "cuda_emulation/cuda_runtime.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "leaky_relu_dropout/leaky_relu_dropout_cpu.h"
#include "leaky_relu_dropout/leaky_relu_dropout_cuda.cu"

namespace {

using namespace gankit;
using namespace gankit::leaky_relu_dropout;

constexpr int64_t kSeed = -0x123456789abcdefll;
constexpr int64_t kStream = 0x500000001ll;

template <class T>
std::vector<typename T::bits> values(int64_t n, uint32_t state) {
  std::vector<typename T::bits> x(static_cast<size_t>(n));
  for (auto& v : x) {
    state = state * 1664525u + 1013904223u;
    const auto value = static_cast<typename T::compute>(static_cast<int32_t>(state) / 1e9);
    v = T::store((state >> 8) % 7 == 0 ? typename T::compute(0) : value);
  }
  return x;
}

// `offset` elements past a 16-byte boundary; `multiprocessors` 1 makes the grid stride.
template <class T>
void against_cpu(int64_t n, int64_t offset, int multiprocessors, const Channels* channels) {
  using Bits = typename T::bits;
  const Factors<T> f(24000, 65536.0 / (65536 - 24000), 65536.0 / (65536 - 24000) * 0.2);
  const auto x = values<T>(n, 1), grad = values<T>(n, 2);
  const size_t bytes = static_cast<size_t>(n) * sizeof(Bits);

  std::vector<Bits> y(x.size()), grad_x(x.size()), grad_x2(x.size());
  const auto run_cpu = [&](const auto& draws) {
    forward_cpu<T>(x.data(), y.data(), n, draws, f);
    backward_from_input_cpu<T>(grad.data(), x.data(), grad_x2.data(), n, draws, f);
  };
  if (channels != nullptr) {
    const auto table = channel_table(*channels, static_cast<uint64_t>(kSeed), kStream);
    run_cpu(ChannelDraws{table.get(), *channels});
  } else {
    run_cpu(ElementDraws{static_cast<uint64_t>(kSeed), kStream});
  }
  backward_cpu<T>(grad.data(), y.data(), grad_x.data(), n, f);

  // Three buffers with a guard element behind each, at the offset asked for.
  const size_t length = static_cast<size_t>(n + offset + 1) * sizeof(Bits) / 16 + 1;
  std::vector<uint4> a(length), b(length), c(length);
  const auto at = [&](std::vector<uint4>& v) { return reinterpret_cast<Bits*>(v.data()) + offset; };
  const Bits guard = static_cast<Bits>(0x5A5A);
  const auto check = [&](const std::vector<Bits>& wanted) {
    CHECK_AT(std::memcmp(at(c), wanted.data(), bytes) == 0, n);
    CHECK_AT(at(c)[n] == guard, n);
  };

  std::memcpy(at(a), x.data(), bytes);
  at(c)[n] = guard;
  forward_cuda<T>(at(a), at(c), n, &kSeed, kStream, f, channels, multiprocessors, nullptr);
  check(y);
  at(a)[n] = guard;
  forward_cuda<T>(at(a), at(a), n, &kSeed, kStream, f, channels, multiprocessors, nullptr);
  CHECK_AT(std::memcmp(at(a), y.data(), bytes) == 0, n);
  CHECK_AT(at(a)[n] == guard, n);

  std::memcpy(at(a), grad.data(), bytes);
  std::memcpy(at(b), y.data(), bytes);
  backward_cuda<T>(at(a), at(b), at(c), n, f, multiprocessors, nullptr);
  check(grad_x);
  std::memcpy(at(b), x.data(), bytes);
  backward_from_input_cuda<T>(at(a), at(b), at(c), n, &kSeed, kStream, f, channels, multiprocessors,
                              nullptr);
  check(grad_x2);
}

template <class T>
void all() {
  for (const int64_t n : {1, 7, 8, 9, 2047, 2048, 2049, 70001}) {
    for (const int64_t offset : {0, 1, 3}) against_cpu<T>(n, offset, n > 3000 ? 1 : 132, nullptr);
  }
  // (samples, sample stride, channels, channel stride) of contiguous, channels_last, a transposed
  // layout, and sizes of one, whose stride is one past the end.
  const int64_t n = 3 * 5 * 21;
  for (const Channels& c : {Channels{3, 105, 5, 21}, Channels{3, 105, 5, 1}, Channels{3, 1, 5, 3},
                            Channels{3, 1, 5, 63}, Channels{1, n, 5, 63}, Channels{3, 105, 1, n},
                            Channels{1, n, 1, n}}) {
    for (const int64_t offset : {0, 1}) against_cpu<T>(n, offset, 132, &c);
  }
  const Channels large{40, 2000, 8, 250};
  against_cpu<T>(80000, 0, 1, &large);
}

void divisors() {
  const int64_t top = INT64_MAX;
  for (const int64_t d : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{10}, int64_t{1} << 31,
                          (int64_t{1} << 31) + 1, (int64_t{1} << 62) + 3, top}) {
    const Divisor divisor(d);
    for (const int64_t a : {int64_t{0}, int64_t{1}, d - 1, d, top / d * d - 1, top / d * d, top}) {
      int64_t remainder = -1;
      CHECK_AT(divisor.divide(a, remainder) == a / d, a);
      CHECK_AT(remainder == a % d, a);
    }
  }
}

// Indices beyond 2^31 and 2^32, which no buffer of a test reaches.
void far_away() {
  const Channels layout{int64_t{1} << 20, 5 * 2097169, 5, 2097169};
  PerElement element{static_cast<uint64_t>(kSeed), kStream};
  PerChannel channel(kStream, layout);
  channel.seed = static_cast<uint64_t>(kSeed);
  alignas(64) uint16_t filled[kUnit];
  for (const int64_t unit :
       {(int64_t{1} << 31) / kUnit, (int64_t{1} << 32) / kUnit, (int64_t{1} << 40) / kUnit + 3}) {
    ElementDraws{static_cast<uint64_t>(kSeed), kStream}.fill(filled, unit, kUnit);
    for (int64_t i = 0; i < kUnit; i += kElements) {
      const int64_t first = unit * kUnit + i;
      const Philox block = philox4x32_10(static_cast<uint64_t>(kSeed),
                                         static_cast<uint64_t>(first) / kDrawsPerBlock, kStream);
      const Philox per_element = element.draws(first), per_channel = channel.draws(first);
      for (int j = 0; j < kElements; ++j) {
        CHECK_AT(draw16(per_element, j) == draw16(block, j), first + j);
        CHECK_AT(filled[i + j] == draw16(block, j), first + j);
        const int64_t number = layout.of(first + j);
        const Philox source =
            philox4x32_10(static_cast<uint64_t>(kSeed), static_cast<uint64_t>(number / 8), kStream);
        CHECK_AT(draw16(per_channel, j) == draw16(source, static_cast<int>(number % 8)), first + j);
      }
    }
  }
}

}  // namespace

int main() {
  divisors();
  far_away();
  all<Float64>();
  all<Float32>();
  all<BFloat16>();
  all<Float16>();
  return gankit_test::finish();
}
