// The CPU kernels of conv_transpose2d against loops that say what a fold is: every geometry,
// layout, activation and dtype, on one and on three threads.
#include "check.h"

#include "conv_transpose2d_cases.h"

namespace {

using namespace gankit;
using namespace gankit::conv_transpose2d;

double activated(Activation kind, double v, double slope) {
  if (kind == Activation::kReLU) return v > 0 ? v : 0;
  if (kind == Activation::kLeakyReLU) return v > 0 ? v : v * slope;
  return kind == Activation::kTanh ? std::tanh(v) : v;
}

double slope_at(Activation kind, double y, double slope) {
  if (kind == Activation::kReLU) return y > 0 ? 1 : 0;
  if (kind == Activation::kLeakyReLU) return y > 0 ? 1 : slope;
  return kind == Activation::kTanh ? 1 - y * y : 1;
}

template <class T, Activation kind>
void check_case(const Geometry& g, bool columns_last, bool y_last, bool has_bias,
                double tolerance) {
  using Bits = typename T::bits;
  constexpr double kSlope = 0.25;
  const Strides columns_at =
      columns_last ? pixels(g.columns(), g.in_h, g.in_w) : planes(g.columns(), g.in_h, g.in_w);
  const Strides y_at =
      y_last ? pixels(g.channels, g.out_h, g.out_w) : planes(g.channels, g.out_h, g.out_w);
  const int64_t y_size = g.samples * g.channels * g.out_h * g.out_w;
  const auto columns = random_bits<T>(g.samples * g.columns() * g.in_h * g.in_w, 1);
  const auto bias = random_bits<T>(g.channels, 2), grad = random_bits<T>(y_size, 3);

  std::vector<Bits> y(static_cast<size_t>(y_size), Bits(0x7F7F));
  fold_cpu<T, kind>(columns.data(), columns_at, has_bias ? bias.data() : nullptr, y.data(), y_at, g,
                    kSlope);
  std::vector<Bits> grad_columns(columns.size(), Bits(0x7F7F));
  unfold_cpu<T, kind>(grad.data(), y_at, kind == Activation::kNone ? nullptr : y.data(), y_at,
                      grad_columns.data(), columns_at, g, kSlope);

  std::vector<double> sums(y.size(), 0), wanted(columns.size(), 0);
  for (int64_t n = 0; n < g.samples; ++n) {
    for (int64_t c = 0; c < g.channels; ++c) {
      for_each_tap(g, c, [&](int64_t oy, int64_t ox, int64_t k, int64_t iy, int64_t ix) {
        const auto out = static_cast<size_t>(y_at.of(n, c, oy, ox));
        const auto in = static_cast<size_t>(columns_at.of(n, k, iy, ix));
        sums[out] += T::load(columns[in]);
        wanted[in] = T::load(grad[out]) * slope_at(kind, T::load(y[out]), kSlope);
      });
      for (int64_t oy = 0; oy < g.out_h; ++oy) {
        for (int64_t ox = 0; ox < g.out_w; ++ox) {
          const auto at = static_cast<size_t>(y_at.of(n, c, oy, ox));
          const double shift = has_bias ? static_cast<double>(T::load(bias[c])) : 0;
          const double value = activated(kind, sums[at] + shift, kSlope);
          CHECK_AT(std::fabs(T::load(y[at]) - value) <= tolerance * (1 + std::fabs(value)), at);
        }
      }
    }
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double found = T::load(grad_columns[i]);
    CHECK_AT(std::fabs(found - wanted[i]) <= tolerance * (1 + std::fabs(wanted[i])), i);
  }
}

template <class T>
void all(double tolerance) {
  for (const Geometry& g : kCases) {
    for (const bool columns_last : {false, true}) {
      for (const bool y_last : {false, true}) {
        check_case<T, Activation::kNone>(g, columns_last, y_last, false, tolerance);
        check_case<T, Activation::kReLU>(g, columns_last, y_last, true, tolerance);
        check_case<T, Activation::kLeakyReLU>(g, columns_last, y_last, false, tolerance);
        check_case<T, Activation::kTanh>(g, columns_last, y_last, true, tolerance);
      }
    }
  }
}

}  // namespace

int main() {
  for (const int threads : {1, 3}) {
    gankit_test_threads = threads;
    all<Float64>(1e-13);
    all<Float32>(1e-6);
    all<BFloat16>(4e-3);
    all<Float16>(5e-4);
  }
  return gankit_test::finish();
}
