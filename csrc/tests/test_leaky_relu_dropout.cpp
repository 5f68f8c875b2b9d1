// The CPU kernels of leaky_relu_dropout against the definition, bit for bit: every dtype, the ends
// of p, NaN and signed zeros, tails, thread counts, in place, and channel dropout in each layout.
#include "check.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "leaky_relu_dropout/leaky_relu_dropout_cpu.h"

namespace {

using namespace gankit;
using namespace gankit::leaky_relu_dropout;

constexpr uint64_t kSeed = 0x9876543210abcdefull;
constexpr uint64_t kStream = 0x100000003ull;
constexpr double kSlope = 0.2;

template <class T>
Factors<T> factors(int64_t threshold, double slope = kSlope) {
  const double scale = threshold == 65536 ? 0.0 : 65536.0 / (65536 - threshold);
  return {threshold, scale, scale * slope};
}

// Values of every kind, in an order that puts each at many places of a block.
template <class T>
std::vector<typename T::bits> inputs(int64_t n) {
  using Compute = typename T::compute;
  const Compute infinity = std::numeric_limits<Compute>::infinity();
  const Compute special[] = {0,        -Compute(0), std::numeric_limits<Compute>::quiet_NaN(),
                             infinity, -infinity,   Compute(1e-5),
                             1,        -1,          Compute(-1e-5)};
  std::vector<typename T::bits> x(static_cast<size_t>(n));
  uint32_t state = 12345;
  for (int64_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    const auto value = static_cast<Compute>(static_cast<int32_t>(state) / 1e9);
    x[static_cast<size_t>(i)] = T::store(i % 5 == 3 ? special[(state >> 20) % 9] : value);
  }
  return x;
}

uint32_t element_draw(int64_t i) {
  return draw16(philox4x32_10(kSeed, static_cast<uint64_t>(i / 8), kStream),
                static_cast<int>(i % 8));
}

// The definition, in other words than the kernel's.
template <class T>
typename T::bits expected_forward(typename T::bits x, uint32_t draw, const Factors<T>& f) {
  if (draw < f.threshold) return 0;
  const auto value = T::load(x);
  if (value > 0) return T::store(value * f.scale);
  return static_cast<typename T::bits>(T::store(value * f.negative_scale) | T::kSign);
}

template <class T>
typename T::bits expected_backward(typename T::bits grad, typename T::bits x, uint32_t draw,
                                   const Factors<T>& f) {
  if (draw < f.threshold) return 0;
  return T::store(T::load(grad) * (T::load(x) > 0 ? f.scale : f.negative_scale));
}

// Which NaN a product gives is the processor's choice; that it is one is ours.
template <class T>
bool same(typename T::bits a, typename T::bits b) {
  return a == b || (std::isnan(T::load(a)) && std::isnan(T::load(b)));
}

template <class T>
void forward_and_backward(int64_t n, int64_t threshold) {
  using Bits = typename T::bits;
  const Factors<T> f = factors<T>(threshold);
  const ElementDraws draws{kSeed, kStream};
  const std::vector<Bits> x = inputs<T>(n);
  std::vector<Bits> grad = inputs<T>(n);
  for (Bits& g : grad) g ^= T::kSign;

  std::vector<Bits> y(x.size()), in_place = x, from_y(x.size()), from_x(x.size());
  forward_cpu<T>(x.data(), y.data(), n, draws, f);
  forward_cpu<T>(in_place.data(), in_place.data(), n, draws, f);
  backward_cpu<T>(grad.data(), y.data(), from_y.data(), n, f);
  backward_from_input_cpu<T>(grad.data(), x.data(), from_x.data(), n, draws, f);

  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>(i);
    const uint32_t draw = element_draw(i);
    CHECK_AT(same<T>(y[k], expected_forward<T>(x[k], draw, f)), i);
    CHECK_AT(((y[k] & T::kSign) != 0) == (draw >= f.threshold && !(T::load(x[k]) > 0)), i);
    CHECK_AT(in_place[k] == y[k], i);
    CHECK_AT(same<T>(from_x[k], expected_backward<T>(grad[k], x[k], draw, f)), i);
    // A positive value that rounds to zero carries the mark of a dropped one: it cannot flow.
    if (draw < f.threshold || y[k] != 0) CHECK_AT(same<T>(from_y[k], from_x[k]), i);
  }
}

template <class T>
void marks() {
  using Bits = typename T::bits;
  using Compute = typename T::compute;
  const Factors<T> f = factors<T>(32768);
  const Bits nan = T::store(std::numeric_limits<Compute>::quiet_NaN());
  const Bits infinity = T::store(std::numeric_limits<Compute>::infinity());
  const uint32_t kept = 32768, dropped = 32767;
  CHECK(forward<T>(0, kept, f) == T::kSign);
  CHECK(forward<T>(T::kSign, kept, f) == T::kSign);
  CHECK(std::isnan(T::load(forward<T>(nan, kept, f))));
  CHECK((forward<T>(nan, kept, f) & T::kSign) != 0);
  CHECK((forward<T>(static_cast<Bits>(nan | T::kSign), kept, f) & T::kSign) != 0);
  CHECK(forward<T>(infinity, kept, f) == infinity);
  CHECK(forward<T>(static_cast<Bits>(infinity | T::kSign), kept, f) == (infinity | T::kSign));
  for (const Bits x : {Bits(0), T::kSign, nan, infinity, T::store(1), T::store(-1)}) {
    CHECK(forward<T>(x, dropped, f) == 0);
  }
  // Slope zero: the negative branch gives -0.0, which still says which branch it was.
  const Factors<T> relu = factors<T>(32768, 0.0);
  CHECK(forward<T>(T::store(-3), kept, relu) == T::kSign);
  CHECK(T::load(backward<T>(T::store(5), T::kSign, relu)) == 0);
  CHECK(T::load(backward<T>(T::store(5), T::store(2), relu)) == 10);
  CHECK(backward<T>(nan, 0, f) == 0);
}

template <class T>
void ends_of_p() {
  using Bits = typename T::bits;
  const int64_t n = 2000;
  const std::vector<Bits> x = inputs<T>(n);
  std::vector<Bits> y(x.size(), Bits(1));
  forward_cpu<T>(x.data(), y.data(), n, ElementDraws{kSeed, kStream}, factors<T>(65536));
  for (int64_t i = 0; i < n; ++i) CHECK_AT(y[static_cast<size_t>(i)] == 0, i);
  forward_cpu<T>(x.data(), y.data(), n, ElementDraws{kSeed, kStream}, factors<T>(0));
  for (int64_t i = 0; i < n; ++i) CHECK_AT(y[static_cast<size_t>(i)] != 0, i);
}

void share_of_dropped() {
  const int64_t n = 1 << 20;
  const std::vector<uint32_t> x(static_cast<size_t>(n), Float32::store(1.0f));
  std::vector<uint32_t> y(x.size());
  for (const double p : {0.1, 0.5, 0.9}) {
    forward_cpu<Float32>(x.data(), y.data(), n, ElementDraws{kSeed, kStream},
                         factors<Float32>(static_cast<int64_t>(p * 65536 + 0.5)));
    double dropped = 0;
    for (const uint32_t bits : y) dropped += bits == 0;
    CHECK(std::abs(dropped / n - p) < 5 * std::sqrt(p * (1 - p) / n));
  }
}

// Samples first, channels second, as in (N, C, H, W); strides as given.
struct Layout {
  int64_t size[4], stride[4];
};

void channel_dropout() {
  const Layout layouts[] = {
      {{3, 5, 7, 11}, {385, 77, 11, 1}},  // contiguous
      {{3, 5, 7, 11}, {385, 1, 55, 5}},   // channels_last
      {{3, 5, 7, 11}, {77, 231, 11, 1}},  // channels outermost
      {{70, 600, 1, 1}, {600, 1, 1, 1}},  // (N, C), more than one unit of draws
      {{1, 4, 30, 40}, {4800, 1200, 40, 1}},
  };
  const Factors<Float32> f = factors<Float32>(32768);
  for (const Layout& layout : layouts) {
    const auto& size = layout.size;
    const auto& stride = layout.stride;
    const int64_t n = size[0] * size[1] * size[2] * size[3];
    const Channels channels{size[0], size[0] == 1 ? n : stride[0], size[1],
                            size[1] == 1 ? n : stride[1]};
    const auto table = channel_table(channels, kSeed, kStream);
    const ChannelDraws draws{table.get(), channels};
    const std::vector<uint32_t> x = inputs<Float32>(n);
    std::vector<uint32_t> y(x.size()), grad_x(x.size());
    forward_cpu<Float32>(x.data(), y.data(), n, draws, f);
    backward_from_input_cpu<Float32>(x.data(), x.data(), grad_x.data(), n, draws, f);
    for (int64_t a = 0; a < size[0]; ++a) {
      for (int64_t c = 0; c < size[1]; ++c) {
        const uint32_t draw = element_draw(a * size[1] + c);
        for (int64_t h = 0; h < size[2]; ++h) {
          for (int64_t w = 0; w < size[3]; ++w) {
            const int64_t at = a * stride[0] + c * stride[1] + h * stride[2] + w * stride[3];
            const auto k = static_cast<size_t>(at);
            CHECK_AT(same<Float32>(y[k], expected_forward<Float32>(x[k], draw, f)), at);
            CHECK_AT(same<Float32>(grad_x[k], expected_backward<Float32>(x[k], x[k], draw, f)), at);
          }
        }
      }
    }
  }
}

// Blocks past 2^32 use the counter's high word: the draws go on, they do not repeat.
void far_blocks() {
  uint16_t draws[kUnit];
  const int64_t unit = (int64_t{1} << 32) / (kUnit / kDrawsPerBlock) + 1;
  ElementDraws{kSeed, kStream}.fill(draws, unit, kUnit);
  for (int i = 0; i < kUnit; ++i) {
    CHECK_AT(draws[i] == element_draw(unit * kUnit + i), i);
    CHECK_AT(i % 64 != 0 || draws[i] != element_draw(kUnit + i), i);
  }
}

template <class T>
void every_size_and_threshold() {
  for (const int64_t n : {0, 1, 7, 8, 9, 31, 511, 512, 513, 1000, 20 * 512 + 3, 70000}) {
    for (const int64_t threshold : {1, 6554, 32768, 65535}) forward_and_backward<T>(n, threshold);
  }
  marks<T>();
  ends_of_p<T>();
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 3, 8}) {
    gankit_test_threads = threads;
    every_size_and_threshold<Float64>();
    every_size_and_threshold<Float32>();
    every_size_and_threshold<BFloat16>();
    every_size_and_threshold<Float16>();
    channel_dropout();
  }
  share_of_dropped();
  far_blocks();
  return gankit_test::finish();
}
