// The CPU kernels of batch_norm_act against the definition in double precision: every dtype,
// activation and layout, large means, and the same bits whatever the number of threads.
#include "check.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "batch_norm_act/batch_norm_act_cpu.h"
#include "batch_norm_act_cases.h"

namespace {

using namespace batch_norm_act_cases;

template <class T>
struct Results {
  std::vector<typename T::compute> mean, var, sum_h, sum_hx, mean_q, mean_qx, grad_bias,
      grad_weight;
  std::vector<typename T::bits> y, grad_x;

  bool operator==(const Results& other) const {
    return mean == other.mean && var == other.var && sum_h == other.sum_h &&
           sum_hx == other.sum_hx && mean_q == other.mean_q && mean_qx == other.mean_qx &&
           y == other.y && grad_x == other.grad_x;
  }
};

template <class T, Activation kActivation>
Results<T> run(const std::vector<typename T::bits>& x, const std::vector<typename T::bits>& grad,
               const Geometry& g, const Parameters<typename T::compute>& parameters,
               bool per_sample) {
  using Compute = typename T::compute;
  Results<T> r;
  const Geometry own = per_sample ? by_samples(g) : g;
  const auto total = static_cast<size_t>(own.groups * own.channels);
  for (auto* v : {&r.mean, &r.var}) v->resize(static_cast<size_t>(g.groups * g.channels));
  for (auto* v : {&r.sum_h, &r.sum_hx}) v->resize(total);
  r.y.resize(x.size());
  r.grad_x.resize(x.size());
  statistics_cpu<T>(x.data(), g, r.mean.data(), r.var.data());
  Inputs<Compute> in{r.mean.data(),          r.var.data(),    parameters.weight.data(),
                     parameters.bias.data(), nullptr,         nullptr,
                     Compute(kEps),          Compute(kSlope), per_sample ? g.samples : 0};
  apply_cpu<T, kActivation>(x.data(), r.y.data(), own, in);
  sums_cpu<T, kActivation>(grad.data(), x.data(), own, in, r.sum_h.data(), r.sum_hx.data());
  const auto finish = finish_of(g, parameters, per_sample, r.sum_h, r.sum_hx, r.mean_q, r.mean_qx,
                                r.grad_bias, r.grad_weight);
  for (int64_t c = 0; c < g.channels; ++c) finish.channel(c);
  in.mean_q = r.mean_q.data();
  in.mean_qx = r.mean_qx.data();
  grad_input_cpu<T, kActivation>(grad.data(), x.data(), r.grad_x.data(), own, in);
  if constexpr (sizeof(typename T::bits) == sizeof(Compute)) {
    // h kept by the sweep that sums, and results that lie on inputs.
    std::vector<typename T::bits> h(x.size()), y = x;
    std::vector<Compute> sum_h(total), sum_hx(total);
    sums_cpu<T, kActivation, true>(grad.data(), x.data(), own, in, sum_h.data(), sum_hx.data(),
                                   h.data());
    // Where h is not stored the compiler may fuse its product with the sum: one rounding less.
    const double tolerance = 64 * double(std::numeric_limits<Compute>::epsilon());
    for (size_t k = 0; k < total; ++k) {
      const double sum = tolerance * static_cast<double>(own.count());
      CHECK_AT(near(sum_h[k], r.sum_h[k], tolerance, sum), k);
      CHECK_AT(near(sum_hx[k], r.sum_hx[k], tolerance, sum), k);
    }
    grad_input_cpu<T, Activation::kNone>(h.data(), x.data(), h.data(), own, in);
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK_AT(near(T::load(h[i]), T::load(r.grad_x[i]), tolerance, 8 * tolerance), i);
    }
    apply_cpu<T, kActivation>(y.data(), y.data(), own, in);
    CHECK(y == r.y);
  }
  return r;
}

template <class T, Activation kActivation>
void against_definition(const Geometry& g, bool per_sample, double tolerance) {
  const int64_t n = g.groups * g.group_elements();
  const auto x = values<T>(n, 1, 0.3, 2.0), grad = values<T>(n, 2, 0.1, 1.0);
  const Parameters<typename T::compute> parameters(g, per_sample);
  gankit_test_threads = 1;
  const Results<T> found = run<T, kActivation>(x, grad, g, parameters, per_sample);
  for (const int threads : {2, 5}) {
    gankit_test_threads = threads;
    CHECK_AT((run<T, kActivation>(x, grad, g, parameters, per_sample) == found), n);
  }
  const Expected wanted = expected<T>(x, grad, g, parameters, kActivation, per_sample);
  const double sum = 1e-5 * static_cast<double>(g.count() + 1);
  for (size_t k = 0; k < found.mean.size(); ++k) {
    CHECK_AT(near(found.mean[k], wanted.mean[k], 1e-5, 1e-6), n);
    CHECK_AT(near(found.var[k], wanted.var[k], 1e-5, 0), n);
    CHECK_AT(near(found.mean_q[k], wanted.mean_q[k], 1e-5, 2e-5), n);
    CHECK_AT(near(found.mean_qx[k], wanted.mean_qx[k], 1e-5, 2e-5), n);
  }
  for (size_t k = 0; k < found.sum_h.size(); ++k) {
    CHECK_AT(near(found.sum_h[k], wanted.sum_h[k], 1e-5, sum), n);
    CHECK_AT(near(found.sum_hx[k], wanted.sum_hx[k], 1e-5, sum), n);
  }
  for (size_t i = 0; i < x.size(); ++i) {
    CHECK_AT(near(T::load(found.y[i]), wanted.y[i], tolerance, 2e-5), i);
    CHECK_AT(near(T::load(found.grad_x[i]), wanted.grad_x[i], tolerance, 5e-5), i);
  }
}

template <class T, Activation kActivation>
void against_definition(double tolerance) {
  for (const Geometry& g : geometries()) {
    for (const bool per_sample : {false, true}) {
      against_definition<T, kActivation>(g, per_sample, tolerance);
    }
  }
}

template <class T>
void every_activation(double tolerance) {
  against_definition<T, Activation::kNone>(tolerance);
  against_definition<T, Activation::kRelu>(tolerance);
  against_definition<T, Activation::kLeakyRelu>(tolerance);
  against_definition<T, Activation::kTanh>(tolerance);
}

// A mean of a million standard deviations, and a first plane far from all the others.
void large_means() {
  for (Geometry g : geometries()) {
    const int64_t n = g.groups * g.group_elements();
    for (const bool outlier : {false, true}) {
      auto x = values<Float32>(n, 3, 1e4, 1e-2);
      if (outlier) {
        for (int64_t i = 0; i < n && i < g.channels * g.positions; ++i) {
          x[static_cast<size_t>(i)] = Float32::store(-3.0f);
        }
      }
      const auto total = static_cast<size_t>(g.groups * g.channels);
      std::vector<float> mean(total), var(total);
      statistics_cpu<Float32>(x.data(), g, mean.data(), var.data());
      const Parameters<float> parameters(g, false);
      const Expected wanted = expected<Float32>(x, x, g, parameters, Activation::kNone);
      for (size_t k = 0; k < total; ++k) {
        CHECK_AT(near(mean[k], wanted.mean[k], 2e-7, 0), n);
        CHECK_AT(near(var[k], wanted.var[k], 1e-3, 1e-9), n);
      }
    }
  }
}

void special_values() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Activation a :
       {Activation::kNone, Activation::kRelu, Activation::kLeakyRelu, Activation::kTanh}) {
    CHECK(std::isnan(activate(a, nan, 0.2f)));
    CHECK(std::isnan(grad_z(a, nan, 1.0f, 0.2f)));
    CHECK(activate(a, 0.0f, 0.2f) == 0);
  }
  CHECK(activate(Activation::kRelu, -infinity, 0.0f) == 0);
  CHECK(grad_z(Activation::kRelu, 3.0f, 0.0f, 0.0f) == 0);
  CHECK(grad_z(Activation::kLeakyRelu, 3.0f, 0.0f, 0.5f) == 1.5f);
  CHECK(activate(Activation::kTanh, infinity, 0.0f) == 1);
  CHECK(activate(Activation::kTanh, -infinity, 0.0f) == -1);
  CHECK(std::signbit(activate(Activation::kTanh, -0.0f, 0.0f)));
}

}  // namespace

int main() {
  every_activation<Float64>(1e-9);
  every_activation<Float32>(1e-5);
  every_activation<BFloat16>(4e-3);
  every_activation<Float16>(5e-4);
  gankit_test_threads = 2;
  large_means();
  special_values();
  return gankit_test::finish();
}
