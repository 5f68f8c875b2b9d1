// Inputs for the tests of batch_norm_act, and the definition in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "batch_norm_act/batch_norm_act_math.h"

namespace batch_norm_act_cases {

using namespace gankit;
using namespace gankit::batch_norm_act;

constexpr double kEps = 1e-5, kSlope = 0.2;

// Both layouts, several groups, more values and channels than one unit of sums holds, and tails.
inline std::vector<Geometry> geometries() {
  std::vector<Geometry> all;
  for (const bool channels_last : {false, true}) {
    for (const int64_t groups : {1, 2, 3}) {
      all.push_back({groups, 2, 3, 5, channels_last});
      all.push_back({groups, 3, 8, 49, channels_last});
    }
    all.push_back({1, 1, 1, 2, channels_last});
    all.push_back({2, 2, 2, 9000, channels_last});
    all.push_back({1, 40, 5, 130, channels_last});
    all.push_back({1, 700, 2, 3, channels_last});
    all.push_back({2, 5, 300, 7, channels_last});
    all.push_back({2, 0, 4, 3, channels_last});
    all.push_back({2, 9, 40, 33, channels_last});    // several blocks of channels, short planes
    all.push_back({1, 300, 12, 49, channels_last});  // and more than one unit of each
    all.push_back({1, 9, 600, 1, channels_last});
    all.push_back({1, 3, 19, 130, channels_last});  // the same of long planes
  }
  return all;
}

template <class T>
std::vector<typename T::bits> values(int64_t n, uint32_t state, double offset, double scale) {
  std::vector<typename T::bits> x(static_cast<size_t>(n));
  for (auto& v : x) {
    state = state * 1664525u + 1013904223u;
    const double uniform = static_cast<int32_t>(state) / 2147483648.0;
    v = T::store(static_cast<typename T::compute>(offset + scale * uniform));
  }
  return x;
}

// Calls f(index of [group, channel], offset) for every element.
template <class F>
void for_each(const Geometry& g, const F& f) {
  int64_t at = 0;
  for (int64_t group = 0; group < g.groups; ++group) {
    for (int64_t s = 0; s < g.samples; ++s) {
      for (int64_t i = 0; i < g.channels * g.positions; ++i, ++at) {
        const int64_t c = g.channels_last ? i % g.channels : i / g.positions;
        f(group * g.channels + c, at);
      }
    }
  }
}

inline double derivative(Activation activation, double z) {
  if (activation == Activation::kRelu) return z > 0;
  if (activation == Activation::kLeakyRelu) return z > 0 ? 1 : kSlope;
  return activation == Activation::kTanh ? 1 - std::tanh(z) * std::tanh(z) : 1;
}

inline double activated(Activation activation, double z) {
  if (activation == Activation::kRelu) return z > 0 ? z : 0;
  if (activation == Activation::kLeakyRelu) return z > 0 ? z : kSlope * z;
  return activation == Activation::kTanh ? std::tanh(z) : z;
}

// The same elements, a slice for each sample.
inline Geometry by_samples(const Geometry& g) {
  return {g.groups * g.samples, 1, g.channels, g.positions, g.channels_last};
}

// A scale and a shift for each channel, or for each channel of each sample.
template <class Compute>
struct Parameters {
  std::vector<Compute> weight, bias;

  Parameters(const Geometry& g, bool per_sample) {
    const int64_t n = g.channels * (per_sample ? g.groups * g.samples : 1);
    for (int64_t i = 0; i < n; ++i) {
      weight.push_back(Compute(0.5) + Compute(i % 7) / 4);
      bias.push_back(Compute(i % 5) / 4 - Compute(0.6));
    }
  }
};

// What the kernels should give for x and grad. Statistics are [groups, channels]; sums too, or with
// a scale and a shift per sample [samples, channels].
struct Expected {
  std::vector<double> mean, var, sum_h, sum_hx, mean_q, mean_qx, y, grad_x;
};

template <class T>
Expected expected(const std::vector<typename T::bits>& x, const std::vector<typename T::bits>& grad,
                  const Geometry& g, const Parameters<typename T::compute>& parameters,
                  Activation activation, bool per_sample = false) {
  Expected e;
  const Geometry own = per_sample ? by_samples(g) : g;
  const auto total = static_cast<size_t>(g.groups * g.channels);
  for (auto* v : {&e.mean, &e.var, &e.mean_q, &e.mean_qx}) v->assign(total, 0.0);
  for (auto* v : {&e.sum_h, &e.sum_hx}) {
    v->assign(static_cast<size_t>(own.groups * own.channels), 0.0);
  }
  e.y.resize(x.size());
  e.grad_x.resize(x.size());
  const double count = g.count() > 0 ? static_cast<double>(g.count()) : 1.0;
  const auto at = [&](int64_t i) {
    return static_cast<double>(T::load(x[static_cast<size_t>(i)]));
  };
  // Of each element: its index among the statistics and among the sums, and q = w h.
  const auto each = [&](const auto& f) {
    for_each(own, [&](int64_t index, int64_t i) {
      const int64_t group = i / std::max<int64_t>(g.group_elements(), 1);
      const auto c = static_cast<size_t>(index % g.channels);
      const auto k = static_cast<size_t>(group * g.channels) + c;
      const auto p = per_sample ? static_cast<size_t>(index) : c;
      const double r = 1 / std::sqrt(e.var[k] + kEps), w = parameters.weight[p];
      const double xhat = (at(i) - e.mean[k]) * r;
      const double z = xhat * w + parameters.bias[p];
      const double h = T::load(grad[static_cast<size_t>(i)]) * derivative(activation, z);
      f(k, static_cast<size_t>(index), static_cast<size_t>(i), xhat, z, h, w * h, r);
    });
  };
  for_each(g, [&](int64_t k, int64_t i) { e.mean[static_cast<size_t>(k)] += at(i) / count; });
  for_each(g, [&](int64_t k, int64_t i) {
    const double v = at(i) - e.mean[static_cast<size_t>(k)];
    e.var[static_cast<size_t>(k)] += v * v / count;
  });
  each([&](size_t k, size_t s, size_t i, double xhat, double z, double h, double q, double) {
    e.y[i] = activated(activation, z);
    e.sum_h[s] += h;
    e.sum_hx[s] += h * xhat;
    e.mean_q[k] += q / count;
    e.mean_qx[k] += q * xhat / count;
  });
  each([&](size_t k, size_t, size_t i, double xhat, double, double, double q, double r) {
    e.grad_x[i] = r * (q - e.mean_q[k] - xhat * e.mean_qx[k]);
  });
  return e;
}

// The finish of the sums `h` and `hx`, [slices, channels], over geometry `g`.
template <class Compute>
Finish<Compute> finish_of(const Geometry& g, const Parameters<Compute>& parameters, bool per_sample,
                          const std::vector<Compute>& h, const std::vector<Compute>& hx,
                          std::vector<Compute>& mean_q, std::vector<Compute>& mean_qx,
                          std::vector<Compute>& grad_bias, std::vector<Compute>& grad_weight) {
  for (auto* v : {&mean_q, &mean_qx}) v->resize(static_cast<size_t>(g.groups * g.channels));
  for (auto* v : {&grad_bias, &grad_weight}) v->resize(static_cast<size_t>(g.channels));
  return {h.data(),
          hx.data(),
          parameters.weight.data(),
          grad_bias.data(),
          grad_weight.data(),
          mean_q.data(),
          mean_qx.data(),
          g.groups,
          per_sample ? g.samples : 1,
          g.channels,
          static_cast<double>(std::max<int64_t>(g.count(), 1)),
          per_sample};
}

inline bool near(double found, double wanted, double relative, double absolute) {
  return std::abs(found - wanted) <= absolute + relative * std::abs(wanted);
}

}  // namespace batch_norm_act_cases
