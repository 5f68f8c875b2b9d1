// interpolate: the CPU kernels against the definition, and the CUDA kernels, run on the host,
// against the CPU kernels: every dtype, layout, tail, thread count and misaligned pointers.
#include "check.h"
#include "cuda_emulation/cuda_runtime.h"

#include <cstring>
#include <vector>

#include "interpolate/interpolate_cpu.h"
#include "interpolate/interpolate_cuda.cu"

namespace {

using namespace gankit;
using namespace gankit::interpolate;

constexpr int64_t kSeed = -0x123456789abcdefll;
constexpr int64_t kStream = 0x500000001ll;

template <class T>
std::vector<typename T::bits> values(int64_t n, uint32_t state) {
  std::vector<typename T::bits> x(static_cast<size_t>(n));
  for (auto& v : x) {
    state = state * 1664525u + 1013904223u;
    v = T::store(static_cast<typename T::compute>(static_cast<int32_t>(state) / 1e9));
  }
  return x;
}

template <class Compute>
Compute expected_weight(int64_t sample) {
  const Philox block =
      philox4x32_10(static_cast<uint64_t>(kSeed), static_cast<uint64_t>(sample / 4), kStream);
  return static_cast<Compute>(block.word[sample % 4] >> 8) / Compute(1 << 24);
}

// `rest` elements of other dimensions lie outside the samples' dimension.
template <class T>
void all_kernels(const Samples& samples, int64_t rest, int64_t offset, int multiprocessors) {
  using Bits = typename T::bits;
  using Compute = typename T::compute;
  const int64_t n =
      samples.stride == 1 ? samples.count * rest : samples.count * samples.stride * rest;
  const auto real = values<T>(n, 1), fake = values<T>(n, 2);
  std::vector<Bits> x(real.size()), to_real(real.size()), to_fake(real.size());
  const auto seed = static_cast<uint64_t>(kSeed);
  forward_cpu<T>(real.data(), fake.data(), x.data(), n, samples, seed, kStream);
  backward_cpu<T>(real.data(), to_real.data(), n, samples, seed, kStream, false);
  backward_cpu<T>(real.data(), to_fake.data(), n, samples, seed, kStream, true);
  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>(i);
    const Compute e = expected_weight<Compute>(i / samples.stride % samples.count);
    CHECK_AT(e >= 0 && e < 1, i);
    volatile Compute left = e * T::load(real[k]);  // rounded before the sum
    volatile Compute right = (1 - e) * T::load(fake[k]);
    CHECK_AT(x[k] == T::store(left + right), i);
    CHECK_AT(to_real[k] == T::store(T::load(real[k]) * e), i);
    CHECK_AT(to_fake[k] == T::store(T::load(real[k]) * (1 - e)), i);
  }

  // Buffers with a guard element behind each, at the offset asked for.
  const size_t bytes = real.size() * sizeof(Bits);
  const size_t length = static_cast<size_t>(n + offset + 1) * sizeof(Bits) / 16 + 1;
  std::vector<uint4> a(length), b(length), c(length);
  const auto at = [&](std::vector<uint4>& v) { return reinterpret_cast<Bits*>(v.data()) + offset; };
  const Bits guard = static_cast<Bits>(0x5A5A);
  at(c)[n] = guard;
  const auto check = [&](const std::vector<Bits>& wanted) {
    CHECK_AT(std::memcmp(at(c), wanted.data(), bytes) == 0, n);
    CHECK_AT(at(c)[n] == guard, n);
  };
  std::memcpy(at(a), real.data(), bytes);
  std::memcpy(at(b), fake.data(), bytes);
  gankit::interpolate::forward_cuda<T>(at(a), at(b), at(c), n, samples, &kSeed, kStream,
                                       multiprocessors, nullptr);
  check(x);
  gankit::interpolate::backward_cuda<T>(at(a), at(c), n, samples, &kSeed, kStream, false,
                                        multiprocessors, nullptr);
  check(to_real);
  gankit::interpolate::backward_cuda<T>(at(a), at(c), n, samples, &kSeed, kStream, true,
                                        multiprocessors, nullptr);
  check(to_fake);
}

template <class T>
void every_layout() {
  for (const int64_t offset : {0, 1, 3}) {
    all_kernels<T>({9, 24}, 1, offset, 132);  // samples outermost, whole vectors
    all_kernels<T>({9, 13}, 1, offset, 132);
    all_kernels<T>({9, 1}, 7, offset, 132);  // samples innermost
    all_kernels<T>({5, 8}, 3, offset, 132);  // in the middle
    all_kernels<T>({1, 40}, 1, offset, 132);
    all_kernels<T>({70001, 1}, 1, offset, 1);
  }
  all_kernels<T>({90, 784}, 1, 0, 1);  // more than one stride of the grid, more than one thread
}

}  // namespace

int main() {
  for (const int threads : {1, 3}) {
    gankit_test_threads = threads;
    every_layout<Float64>();
    every_layout<Float32>();
    every_layout<BFloat16>();
    every_layout<Float16>();
  }
  return gankit_test::finish();
}
