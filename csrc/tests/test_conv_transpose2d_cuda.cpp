// The CUDA kernels of conv_transpose2d, run thread by thread on the host, against the CPU kernels.
#include "check.h"
#include "cuda_emulation/cuda_runtime.h"

#include "conv_transpose2d/conv_transpose2d_cuda.cu"
#include "conv_transpose2d_cases.h"

namespace {

using namespace gankit;
using namespace gankit::conv_transpose2d;

template <class T>
bool close(const std::vector<typename T::bits>& a, const std::vector<typename T::bits>& b,
           double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = T::load(a[i]), y = T::load(b[i]);
    if (!(std::fabs(x - y) <= tolerance * (1 + std::fabs(y)))) return false;
  }
  return a.back() == b.back();  // the guard
}

template <class T, Activation kind>
void against_cpu(const Geometry& g, bool last, bool has_bias, int multiprocessors,
                 double tolerance) {
  using Bits = typename T::bits;
  const Strides columns_at =
      last ? pixels(g.columns(), g.in_h, g.in_w) : planes(g.columns(), g.in_h, g.in_w);
  const Strides y_at =
      last ? pixels(g.channels, g.out_h, g.out_w) : planes(g.channels, g.out_h, g.out_w);
  const int64_t y_size = g.samples * g.channels * g.out_h * g.out_w;
  const int64_t columns_size = g.samples * g.columns() * g.in_h * g.in_w;
  const auto columns = random_bits<T>(columns_size, 1);
  const auto bias = random_bits<T>(g.channels, 2), grad = random_bits<T>(y_size, 3);
  const Bits* shift = has_bias ? bias.data() : nullptr;
  const auto guarded = [](int64_t n) {
    return std::vector<Bits>(static_cast<size_t>(n) + 1, T::store(typename T::compute(0.5)));
  };

  auto y = guarded(y_size), y_cuda = guarded(y_size);
  fold_cpu<T, kind>(columns.data(), columns_at, shift, y.data(), y_at, g, 0.25);
  fold_cuda<T, kind>(columns.data(), columns_at, shift, y_cuda.data(), last, g, 0.25,
                     multiprocessors, nullptr);
  CHECK(close<T>(y_cuda, y, tolerance));

  const Bits* saved = kind == Activation::kNone ? nullptr : y.data();
  auto grads = guarded(columns_size), grads_cuda = guarded(columns_size);
  unfold_cpu<T, kind>(grad.data(), y_at, saved, y_at, grads.data(), columns_at, g, 0.25);
  unfold_cuda<T, kind>(grad.data(), y_at, saved, y_at, grads_cuda.data(), last, g, 0.25,
                       multiprocessors, nullptr);
  CHECK(close<T>(grads_cuda, grads, tolerance));
}

template <class T>
void all(double tolerance) {
  for (const Geometry& g : kCases) {
    for (const bool last : {false, true}) {
      against_cpu<T, Activation::kNone>(g, last, true, 132, tolerance);
      against_cpu<T, Activation::kReLU>(g, last, false, 1, tolerance);
      against_cpu<T, Activation::kLeakyReLU>(g, last, true, 1, tolerance);
      against_cpu<T, Activation::kTanh>(g, last, false, 132, tolerance);
    }
  }
}

}  // namespace

int main() {
  all<Float64>(1e-13);
  all<Float32>(1e-6);
  all<BFloat16>(8e-3);
  all<Float16>(1e-3);
  return gankit_test::finish();
}
