// grad_norm_penalty: the CPU kernels against the definition in double, and the CUDA kernels, run on
// the host with one thread for each of the device's, against the same.
#include "check.h"
#include "cuda_emulation/cuda_runtime.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "grad_norm_penalty/grad_norm_penalty_cpu.h"
#include "grad_norm_penalty/grad_norm_penalty_cuda.cu"

namespace {

using namespace gankit;
using namespace gankit::grad_norm_penalty;

// Rows of different norms; the first is zero.
template <class T>
std::vector<typename T::bits> rows_of(int64_t rows, int64_t length) {
  std::vector<typename T::bits> x(static_cast<size_t>(rows * length));
  uint32_t state = 7;
  for (size_t i = 0; i < x.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    const auto row = static_cast<int64_t>(i) / length;
    const double value = static_cast<int32_t>(state) / 1e10 * static_cast<double>(row);
    x[i] = T::store(static_cast<typename T::compute>(value));
  }
  return x;
}

double expected_penalty(double norm, double target, int64_t mode) {
  if (mode == kZeroCentred) return norm * norm;
  if (mode == kOneSided) return std::pow(std::max(0.0, norm - target), 2);
  return std::pow(norm - target, 2);
}

double expected_factor(double norm, double target, int64_t mode) {
  if (mode == kZeroCentred) return 2;
  if (norm == 0 || (mode == kOneSided && norm < target)) return 0;
  return 2 - 2 * target / norm;
}

template <class T>
bool near(typename T::bits found, double wanted, double scale) {
  // Half a unit of the storage type's last place, and float32's rounding on the way.
  const double unit = sizeof(typename T::bits) == 8   ? 1e-12
                      : sizeof(typename T::bits) == 4 ? 1e-5
                                                      : 1e-2;
  return std::abs(static_cast<double>(T::load(found)) - wanted) <=
         unit * (std::abs(wanted) + scale);
}

template <class T>
void all_kernels(int64_t rows, int64_t length, int64_t offset, double target, int64_t mode,
                 int multiprocessors) {
  using Bits = typename T::bits;
  using Compute = typename T::compute;
  const auto grad = rows_of<T>(rows, length);
  const int64_t n = rows * length;
  const Samples samples{rows, rows == 1 ? n : length};
  const Bits upstream = T::store(static_cast<Compute>(-1.5));
  std::vector<double> norms(static_cast<size_t>(rows));
  double mean = 0;
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t i = 0; i < length; ++i) {
      sum += std::pow(static_cast<double>(T::load(grad[static_cast<size_t>(r * length + i)])), 2);
    }
    norms[static_cast<size_t>(r)] = std::sqrt(sum);
    mean += expected_penalty(std::sqrt(sum), target, mode) / static_cast<double>(rows);
  }
  const auto check = [&](const Compute* found_norms, Bits found, const Bits* out) {
    CHECK_AT(near<T>(found, mean, 1e-2), rows);
    for (int64_t r = 0; r < rows; ++r) {
      const double norm = norms[static_cast<size_t>(r)];
      CHECK_AT(std::abs(found_norms[r] - norm) <= 1e-5 * norm, r);
      const double by = -1.5 / static_cast<double>(rows) * expected_factor(norm, target, mode);
      for (int64_t i = 0; i < length; ++i) {
        const auto k = static_cast<size_t>(r * length + i);
        CHECK_AT(near<T>(out[k], by * static_cast<double>(T::load(grad[k])), 1e-2), r);
      }
    }
  };

  std::vector<Compute> found_norms(static_cast<size_t>(rows));
  std::vector<Bits> out(grad.size());
  norms_cpu<T>(grad.data(), found_norms.data(), rows, length);
  const Bits penalty = mean_penalty<T>(found_norms.data(), rows, target, mode);
  grad_norm_penalty::backward_cpu<T>(upstream, grad.data(), found_norms.data(), out.data(), n,
                                     samples, target, mode);
  check(found_norms.data(), penalty, out.data());

  const size_t bytes = grad.size() * sizeof(Bits);
  const size_t size = static_cast<size_t>(n + offset + 1) * sizeof(Bits) / 16 + 1;
  std::vector<uint4> a(size), c(size);
  const auto at = [&](std::vector<uint4>& v) { return reinterpret_cast<Bits*>(v.data()) + offset; };
  std::memcpy(at(a), grad.data(), bytes);
  at(a)[n] = T::store(std::numeric_limits<Compute>::quiet_NaN());  // read past the end: seen
  const Bits guard = static_cast<Bits>(0x5A5A);
  at(c)[n] = guard;
  std::fill(found_norms.begin(), found_norms.end(), Compute(-1));
  Bits on_device = guard;
  forward_cuda<T>(at(a), found_norms.data(), &on_device, rows, length, target, mode,
                  multiprocessors, nullptr);
  grad_norm_penalty::backward_cuda<T>(&upstream, at(a), found_norms.data(), at(c), n, samples,
                                      target, mode, multiprocessors, nullptr);
  check(found_norms.data(), on_device, at(c));
  CHECK_AT(at(c)[n] == guard, n);
}

// Few and small: every thread of the device is one of the host here.
template <class T>
void every_shape() {
  for (const int64_t mode : {kTwoSided, kOneSided, kZeroCentred}) {
    all_kernels<T>(3, 24, 0, 0.4, mode, 132);
  }
  all_kernels<T>(2, 2049, 0, 3.0, kTwoSided, 132);
  all_kernels<T>(2, 784, 1, 2.0, kTwoSided, 132);
  all_kernels<T>(1, 2056, 0, 1.0, kOneSided, 132);
}

void thread_counts_agree() {
  const auto grad = rows_of<Float32>(37, 2500);
  std::vector<float> wanted(37), found(37);
  gankit_test_threads = 1;
  norms_cpu<Float32>(grad.data(), wanted.data(), 37, 2500);
  for (const int threads : {2, 3, 8}) {
    gankit_test_threads = threads;
    norms_cpu<Float32>(grad.data(), found.data(), 37, 2500);
    CHECK(std::memcmp(found.data(), wanted.data(), 37 * sizeof(float)) == 0);
  }
}

void edges() {
  const double nan = std::nan("");
  CHECK(std::isnan(penalty<double>(nan, 1, kTwoSided)));
  CHECK(std::isnan(penalty<double>(nan, 1, kOneSided)));
  CHECK(factor<float>(0, 1, kTwoSided) == 0);
  CHECK(factor<float>(0, 1, kOneSided) == 0);
  CHECK(factor<float>(0, 1, kZeroCentred) == 2);
  CHECK(std::isfinite(factor<float>(1e-30f, 1, kTwoSided)));
  CHECK(std::isnan(Float32::load(mean_penalty<Float32>(nullptr, 0, 1, kTwoSided))));
}

}  // namespace

int main() {
  thread_counts_agree();
  edges();
  gankit_test_threads = 2;
  every_shape<Float64>();
  every_shape<Float32>();
  every_shape<BFloat16>();
  every_shape<Float16>();
  all_kernels<Float32>(10, 3, 0, 1.0, kTwoSided, 1);  // blocks stride over rows
  return gankit_test::finish();
}
