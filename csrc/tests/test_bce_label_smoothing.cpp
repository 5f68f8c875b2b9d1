// The CPU kernels of bce_label_smoothing against formulas in double precision: every dtype, both
// forms, every kind of target, tails, thread counts, and values outside [0, 1].
#include "check.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "bce_label_smoothing/bce_label_smoothing_cpu.h"

namespace {

using namespace gankit;
using namespace gankit::bce_label_smoothing;

constexpr double kScale = 0.9, kShift = 0.05;

double unit(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  return (state >> 8) / 16777216.0;
}

template <class T>
double back(typename T::bits b) {
  return static_cast<double>(T::load(b));
}

// The textbook's formulas; long double makes up for their cancellation.
template <class Form>
double exact_loss(double x, double t) {
  const long double label = kScale * static_cast<long double>(t) + kShift;
  if constexpr (std::is_same_v<Form, Logits>) {
    const long double wide = x;
    const long double tail = std::log1p(std::exp(-std::abs(wide)));
    return static_cast<double>((wide > 0 ? wide : 0) - wide * label + tail);
  } else {
    const double log_p = std::max(std::log(x), -100.0), log_q = std::max(std::log1p(-x), -100.0);
    return static_cast<double>(-(label * log_p + (1 - label) * log_q));
  }
}

template <class Form>
double exact_slope(double x, double t) {
  const double label = kScale * t + kShift;
  if constexpr (std::is_same_v<Form, Logits>) return 1 / (1 + std::exp(-x)) - label;
  return (x - label) / std::max(x * (1 - x), 1e-12);
}

// Rounding to storage, and errors of the float arithmetic before it.
template <class T>
bool close(double found, double wanted) {
  constexpr int bits = sizeof(typename T::bits) == 8 ? 44 : sizeof(typename T::bits) == 4 ? 19 : 7;
  return std::abs(found - wanted) <= std::ldexp(std::abs(wanted), -bits) + 1e-5;
}

template <class T, class Form, class Target, class Raw>
void against_exact(const std::vector<typename T::bits>& x, const Target& target, const Raw& raw) {
  using Bits = typename T::bits;
  const auto n = static_cast<int64_t>(x.size());
  const Labels<T> labels(kScale, kShift);
  std::vector<Bits> y(x.size()), shared(x.size()), each(x.size()), grad(x.size());
  uint32_t state = 5;
  for (auto& g : grad) g = T::store(static_cast<typename T::compute>(unit(state) - 0.5));
  CHECK_AT((each_cpu<T, Form>(x.data(), target, y.data(), labels, n)), n);
  backward_cpu<T, Form>(x.data(), target, ScalarGrad<T>{2}, shared.data(), labels, n);
  backward_cpu<T, Form>(x.data(), target, TensorGrad<T>{grad.data()}, each.data(), labels, n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>(i);
    const double value = back<T>(x[k]), t = raw(k);
    const double loss = exact_loss<Form>(value, t), slope = exact_slope<Form>(value, t);
    CHECK_AT(close<T>(back<T>(y[k]), loss), i);
    CHECK_AT(close<T>(back<T>(shared[k]), 2 * slope), i);
    CHECK_AT(close<T>(back<T>(each[k]), back<T>(grad[k]) * slope), i);
    sum += loss;
  }
  gankit_test_threads = 1;
  const double found = sum_cpu<T, Form>(x.data(), target, labels, n);
  CHECK_AT(std::abs(found - sum) <= 2e-6 * sum, n);
  for (const int threads : {2, 3, 7}) {
    gankit_test_threads = threads;
    const double again = sum_cpu<T, Form>(x.data(), target, labels, n);
    CHECK_AT(std::memcmp(&found, &again, sizeof(found)) == 0, threads);
  }
  gankit_test_threads = 4;
}

template <class T, class Form>
void every_target(int64_t n) {
  using Bits = typename T::bits;
  uint32_t state = static_cast<uint32_t>(n) + 1;
  std::vector<Bits> x, t;
  std::vector<uint8_t> flags;
  for (int64_t i = 0; i < n; ++i) {
    const double u = unit(state);
    const double value = std::is_same_v<Form, Logits> ? 40 * (u - 0.5) : 0.03 + 0.94 * u;
    x.push_back(T::store(static_cast<typename T::compute>(value)));
    t.push_back(T::store(static_cast<typename T::compute>(unit(state))));
    flags.push_back(unit(state) < 0.5);
  }
  against_exact<T, Form>(x, TensorTarget<T>{t.data()}, [&](size_t k) { return back<T>(t[k]); });
  against_exact<T, Form>(x, BoolTarget{flags.data()}, [&](size_t k) { return double(flags[k]); });
  against_exact<T, Form>(x, ScalarTarget{}, [](size_t) { return 0.0; });
}

// Tails: relative accuracy, where the textbook's formulas have none.
void tails() {
  const Labels<Float32> yes(0, 1), no(0, 0);
  for (const float x : {20.0f, 40.0f, 80.0f}) {
    const double tail = std::exp(-static_cast<double>(x));
    for (const double found : {static_cast<double>(Logits::loss<Float32>(x, 0.0f, yes)),
                               static_cast<double>(Logits::loss<Float32>(-x, 0.0f, no)),
                               -static_cast<double>(Logits::slope<Float32>(x, 0.0f, yes)),
                               static_cast<double>(Logits::slope<Float32>(-x, 0.0f, no))}) {
      CHECK(std::abs(found - tail) <= 1e-6 * tail);
    }
    CHECK(Logits::loss<Float32>(x, 0.0f, no) == x);
  }
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(Logits::loss<Float32>(infinity, 0.0f, no) == infinity);
  CHECK(Logits::loss<Float32>(-infinity, 0.0f, yes) == infinity);
  CHECK(std::isnan(Logits::loss<Float32>(std::nanf(""), 0.0f, no)));
}

template <class T>
void ends_of_probability() {
  using Compute = typename T::compute;
  const Labels<T> yes(0, 1), no(0, 0);
  CHECK((Probabilities::loss<T>(Compute(0), Compute(0), yes) == 100));
  CHECK((Probabilities::loss<T>(Compute(1), Compute(0), no) == 100));
  CHECK((Probabilities::loss<T>(Compute(0), Compute(0), no) == 0));
  CHECK((Probabilities::loss<T>(Compute(1), Compute(0), yes) == 0));
  CHECK(
      (std::abs(Probabilities::slope<T>(Compute(0), Compute(0), yes) / Compute(-1e12) - 1) < 1e-6));
  CHECK((Probabilities::slope<T>(Compute(0), Compute(0), no) == 0));
  // One bad element anywhere, in x or in t, shows.
  for (const double bad : {-0.01, 1.01, double(NAN), double(INFINITY)}) {
    for (const size_t place : {size_t{0}, size_t{300}, size_t{40000}, size_t{49999}}) {
      std::vector<typename T::bits> x(50000, T::store(Compute(0.5))), y(x.size()), ok = x;
      x[place] = T::store(static_cast<Compute>(bad));
      const auto n = static_cast<int64_t>(x.size());
      const Labels<T> labels(kScale, kShift);
      const TensorTarget<T> bad_target{x.data()}, good_target{ok.data()};
      CHECK((std::isnan(sum_cpu<T, Probabilities>(x.data(), good_target, labels, n))));
      CHECK((std::isnan(sum_cpu<T, Probabilities>(ok.data(), bad_target, labels, n))));
      CHECK((!each_cpu<T, Probabilities>(x.data(), ScalarTarget{}, y.data(), labels, n)));
      CHECK((std::isnan(back<T>(y[place]))));
    }
  }
}

template <class T>
void all() {
  for (const int64_t n : {0, 1, 7, 255, 257, 16384, 16385, 50003}) {
    every_target<T, Logits>(n);
    every_target<T, Probabilities>(n);
  }
  ends_of_probability<T>();
}

}  // namespace

int main() {
  gankit_test_threads = 4;
  tails();
  all<Float64>();
  all<Float32>();
  all<BFloat16>();
  all<Float16>();
  return gankit_test::finish();
}
