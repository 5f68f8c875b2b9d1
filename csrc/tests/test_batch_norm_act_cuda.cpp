// The CUDA kernels of batch_norm_act, run thread by thread on the host, against the CPU kernels:
// both layouts, groups, tails, misaligned pointers, several grid strides.
#include "check.h"
#include "cuda_emulation/cuda_runtime.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "batch_norm_act/batch_norm_act_cpu.h"
#include "batch_norm_act_cases.h"
#include "common/cuda_vector.h"

// The block's threads run one after the other here, so the last of them has the total.
#define GANKIT_BLOCK_REDUCE_EMULATED
namespace gankit::batch_norm_act {
template <class V, class F>
void block_reduce(V value, const F& use) {
  static thread_local V total;
  if (threadIdx.x == 0) total = V{};
  total.add(value);
  if (threadIdx.x + 1 == static_cast<unsigned>(kThreads)) use(total);
}
}  // namespace gankit::batch_norm_act

#include "batch_norm_act/batch_norm_act_cuda.cu"

namespace {

using namespace batch_norm_act_cases;

// `n` elements from `offset` elements past a 16-byte boundary, with a guard behind them.
template <class Bits>
class Buffer {
 public:
  Buffer(const std::vector<Bits>& from, int64_t offset)
      : words_((from.size() + static_cast<size_t>(offset) + 1) * sizeof(Bits) / 16 + 1),
        at_(reinterpret_cast<Bits*>(words_.data()) + offset),
        n_(from.size()) {
    if (n_ > 0) std::memcpy(at_, from.data(), n_ * sizeof(Bits));
    at_[n_] = static_cast<Bits>(0x5A5A);
  }

  Bits* data() { return at_; }
  bool guarded() const { return at_[n_] == static_cast<Bits>(0x5A5A); }

 private:
  std::vector<uint4> words_;
  Bits* at_;
  size_t n_;
};

template <class T, Activation kActivation>
void against_cpu(const Geometry& g, bool per_sample, int64_t offset, int multiprocessors,
                 double tolerance) {
  using Bits = typename T::bits;
  using Compute = typename T::compute;
  const Geometry own = per_sample ? by_samples(g) : g;
  const int64_t n = g.groups * g.group_elements();
  const auto x = values<T>(n, 1, 0.3, 2.0), grad = values<T>(n, 2, 0.1, 1.0);
  const auto groups = static_cast<size_t>(g.groups * g.channels);
  const auto slices = static_cast<size_t>(own.groups * own.channels);
  std::vector<Compute> mean(groups), var(groups), mean2(groups), var2(groups);
  std::vector<Compute> h(slices), hx(slices), h2(slices), hx2(slices);
  const Parameters<Compute> parameters(g, per_sample);
  const int64_t bytes = std::max(table_bytes<Compute>(g), table_bytes<Compute>(own));
  std::vector<uint4> table(static_cast<size_t>(bytes / 16 + 1));
  std::vector<uint4> arrays(static_cast<size_t>(6 * array_length(own)) * sizeof(Compute) / 16 + 1);
  auto* numbers = reinterpret_cast<Compute*>(arrays.data());
  Buffer<Bits> a(x, offset), b(grad, offset), c(x, offset);

  statistics_cpu<T>(x.data(), g, mean.data(), var.data());
  statistics_cuda<T>(a.data(), g, table.data(), mean2.data(), var2.data(), nullptr);
  Inputs<Compute> in{
      mean.data(), var.data(),    parameters.weight.data(), parameters.bias.data(),    nullptr,
      nullptr,     Compute(kEps), Compute(kSlope),          per_sample ? g.samples : 0};
  sums_cpu<T, kActivation>(grad.data(), x.data(), own, in, h.data(), hx.data());
  sums_cuda<T>(b.data(), a.data(), own, in, kActivation, table.data(), h2.data(), hx2.data(),
               nullptr);
  const double sum = 1e-5 * static_cast<double>(g.count() + 1);
  for (size_t k = 0; k < groups; ++k) {
    CHECK_AT(near(mean2[k], mean[k], 1e-5, 1e-6), n);
    CHECK_AT(near(var2[k], var[k], 2e-5, 0), n);
  }
  for (size_t k = 0; k < slices; ++k) {
    CHECK_AT(near(h2[k], h[k], 1e-5, sum), n);
    CHECK_AT(near(hx2[k], hx[k], 1e-5, sum), n);
  }
  if (n == 0) return;

  std::vector<Bits> wanted(x.size());
  const auto check = [&](Buffer<Bits>& found) {
    CHECK_AT(found.guarded(), n);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double w = T::load(wanted[i]);
      CHECK_AT(near(T::load(found.data()[i]), w, tolerance, 2e-6), i);
    }
  };
  apply_cpu<T, kActivation>(x.data(), wanted.data(), own, in);
  apply_cuda<T>(a.data(), c.data(), own, in, kActivation, numbers, multiprocessors, nullptr);
  check(c);
  apply_cuda<T>(a.data(), a.data(), own, in, kActivation, numbers, multiprocessors, nullptr);
  check(a);

  std::vector<Compute> q, qx, grad_bias, grad_weight, q2, qx2, grad_bias2, grad_weight2;
  const auto finish = finish_of(g, parameters, per_sample, h, hx, q, qx, grad_bias, grad_weight);
  for (int64_t k = 0; k < g.channels; ++k) finish.channel(k);
  finish_sums_cuda<Compute>(
      finish_of(g, parameters, per_sample, h, hx, q2, qx2, grad_bias2, grad_weight2), nullptr);
  CHECK_AT((q2 == q && qx2 == qx && grad_bias2 == grad_bias && grad_weight2 == grad_weight), n);
  in.mean_q = q.data();
  in.mean_qx = qx.data();
  Buffer<Bits> again(x, offset);
  grad_input_cpu<T, kActivation>(grad.data(), x.data(), wanted.data(), own, in);
  grad_input_cuda<T>(b.data(), again.data(), c.data(), own, in, kActivation, numbers,
                     multiprocessors, nullptr);
  check(c);
}

template <class T>
void all(double tolerance) {
  for (const Geometry& g : geometries()) {
    for (const int64_t offset : {0, 1}) {
      const int multiprocessors = g.count() > 1000 ? 1 : 132;
      against_cpu<T, Activation::kLeakyRelu>(g, offset == 1, offset, multiprocessors, tolerance);
    }
    against_cpu<T, Activation::kRelu>(g, true, 0, 1, tolerance);
    against_cpu<T, Activation::kTanh>(g, false, 0, 132, tolerance);
    against_cpu<T, Activation::kNone>(g, false, 0, 1, tolerance);
  }
}

void updates() {
  const int64_t channels = 300, groups = 2;
  std::vector<float> mean(600), var(600), running(600, 1.0f), variance(600, 2.0f);
  for (size_t i = 0; i < mean.size(); ++i) {
    mean[i] = static_cast<float>(i);
    var[i] = static_cast<float>(i) / 2;
  }
  const int64_t batches = 3;
  update_cuda<float>(running.data(), 2, variance.data(), 1, mean.data(), var.data(), nullptr, 0.25,
                     1.5, groups, channels, nullptr);
  CHECK(near(running[20], 0.75 * (0.75 * 1 + 0.25 * 10) + 0.25 * 310, 1e-6, 0));
  CHECK(running[21] == 1);
  CHECK(near(variance[10], 0.75 * (0.75 * 2 + 0.375 * 5) + 0.375 * 155, 1e-6, 0));
  update_cuda<float>(mean.data(), 1, var.data(), 1, running.data(), variance.data(), &batches, 9.0,
                     1.0, 1, 1, nullptr);
  CHECK(near(mean[0], running[0] / 4, 1e-6, 0));
}

}  // namespace

int main() {
  all<Float64>(1e-9);
  all<Float32>(2e-5);
  all<BFloat16>(8e-3);
  all<Float16>(1e-3);
  updates();
  return gankit_test::finish();
}
