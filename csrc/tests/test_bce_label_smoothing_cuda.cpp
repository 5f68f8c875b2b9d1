// The CUDA kernels of bce_label_smoothing and gan_bce, run thread by thread on the host, against
// the CPU kernels: tails, misaligned pointers, several grid strides, one block and many.
#include "check.h"
#include "cuda_emulation/cuda_runtime.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "bce_label_smoothing/bce_label_smoothing_cpu.h"
#include "bce_label_smoothing/bce_label_smoothing_cuda.cu"
#include "gan_bce/gan_bce_cuda.cu"

namespace {

using namespace gankit;
using namespace gankit::bce_label_smoothing;

const double kScale = 0.9, kShift = 0.05;

// A buffer that starts `offset` elements past a 16-byte boundary, with a guard behind it.
template <class T>
struct Buffer {
  using Bits = typename T::bits;
  std::vector<uint4> memory;
  int64_t n, offset;

  Buffer(int64_t n, int64_t offset, uint32_t state = 0)
      : memory(static_cast<size_t>(n + offset + 1) * sizeof(Bits) / 16 + 1), n(n), offset(offset) {
    for (int64_t i = 0; i < n; ++i) {
      state = state * 1664525u + 1013904223u;
      // In (0, 1), so that it serves as a logit, a probability, a target and a gradient.
      data()[i] =
          T::store(static_cast<typename T::compute>(0.05 + (state >> 8) * (0.9 / 16777216)));
    }
    data()[n] = static_cast<Bits>(0x5A5A);
  }
  Bits* data() { return reinterpret_cast<Bits*>(memory.data()) + offset; }
  bool guarded() { return data()[n] == static_cast<Bits>(0x5A5A); }
};

// The same formula compiled twice may contract differently: a few units in the last place.
template <class T>
bool near(typename T::bits a, typename T::bits b) {
  const double x = T::load(a), y = T::load(b);
  constexpr int bits = sizeof(typename T::bits) == 8 ? 48 : sizeof(typename T::bits) == 4 ? 20 : 7;
  return std::abs(x - y) <= std::ldexp(std::max(std::abs(x), std::abs(y)), -bits) + 1e-6;
}

template <class T>
bool same(Buffer<T>& found, const std::vector<typename T::bits>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!near<T>(found.data()[i], wanted[i])) return false;
  }
  return found.guarded();
}

template <class T, class Form, class Target>
void one_target(Buffer<T>& x, const Target& target, int64_t offset, int multiprocessors) {
  using Bits = typename T::bits;
  const int64_t n = x.n;
  const Labels<T> labels(kScale, kShift);
  Buffer<T> grad(n, offset, 9), out(n, offset), scalar(1, 0, 3), result(1, 0);
  std::vector<Bits> wanted(static_cast<size_t>(n));

  each_cpu<T, Form>(x.data(), target, wanted.data(), labels, n);
  each_cuda<T, Form, Target>(x.data(), target, out.data(), n, labels, multiprocessors, nullptr);
  CHECK_AT(same<T>(out, wanted), n);

  backward_cpu<T, Form>(x.data(), target, TensorGrad<T>{grad.data()}, wanted.data(), labels, n);
  backward_each_cuda<T, Form, Target>(grad.data(), x.data(), target, out.data(), n, labels,
                                      multiprocessors, nullptr);
  CHECK_AT(same<T>(out, wanted), n);

  const auto shared = static_cast<typename T::compute>(T::load(*scalar.data()) * 0.25);
  backward_cpu<T, Form>(x.data(), target, ScalarGrad<T>{shared}, wanted.data(), labels, n);
  backward_shared_cuda<T, Form, Target>(scalar.data(), x.data(), target, out.data(), n, labels,
                                        0.25, multiprocessors, nullptr);
  CHECK_AT(same<T>(out, wanted), n);

  const int blocks = sum_blocks(n, multiprocessors);
  std::vector<double> sums(static_cast<size_t>(blocks) + 1, -1.0);
  const double factor = 1.0 / static_cast<double>(n);
  sum_cuda<T, Form, Target>(x.data(), target, result.data(), sums.data(), n, labels, factor,
                            multiprocessors, nullptr);
  const double sum = sum_cpu<T, Form>(x.data(), target, labels, n);
  CHECK_AT(near<T>(*result.data(), T::store(static_cast<typename T::compute>(sum * factor))), n);
  CHECK_AT(result.guarded(), n);
  CHECK_AT(sums.back() == -1.0, n);
}

template <class T, class Form>
void against_cpu(int64_t n, int64_t offset, int multiprocessors) {
  Buffer<T> x(n, offset, 1), t(n, offset, 2);
  std::vector<uint8_t> flags(static_cast<size_t>(n));
  for (size_t i = 0; i < flags.size(); ++i) flags[i] = i % 3 == 0;
  one_target<T, Form>(x, TensorTarget<T>{t.data()}, offset, multiprocessors);
  one_target<T, Form>(x, BoolTarget{flags.data()}, offset, multiprocessors);
  one_target<T, Form>(x, ScalarTarget{}, offset, multiprocessors);
}

template <class T, class Form>
void two_halves(int64_t real, int64_t fake, int64_t offset, int multiprocessors, bool joint) {
  using Bits = typename T::bits;
  Buffer<T> r(real, offset, 1), f(fake, offset, 2), by_real(real, offset), by_fake(fake, offset);
  Buffer<T> grad(1, 0, 3), result(1, 0);
  const gan_bce::Weights w = gan_bce::weights(real, fake, joint);
  const Labels<T> yes(0, 0.9), no(0, 0.1);
  const gan_bce::Half<T> first{r.data(), real, yes, w.real}, second{f.data(), fake, no, w.fake};
  std::vector<double> sums(
      static_cast<size_t>(gan_bce::sum_blocks(real, fake, multiprocessors)) + 1, -1.0);
  gan_bce::forward_cuda<T, Form>(first, second, result.data(), sums.data(), multiprocessors,
                                 nullptr);
  const double sum = sum_cpu<T, Form>(r.data(), ScalarTarget{}, yes, real) * w.real +
                     sum_cpu<T, Form>(f.data(), ScalarTarget{}, no, fake) * w.fake;
  CHECK_AT(near<T>(*result.data(), T::store(static_cast<typename T::compute>(sum))), real);
  CHECK_AT(result.guarded() && sums.back() == -1.0, real);

  gan_bce::backward_cuda<T, Form>(grad.data(), first, second, by_real.data(), by_fake.data(),
                                  multiprocessors, nullptr);
  const double g = T::load(*grad.data());
  std::vector<Bits> wanted(static_cast<size_t>(real));
  const auto share = [&](double weight) {
    return ScalarGrad<T>{static_cast<typename T::compute>(g * weight)};
  };
  backward_cpu<T, Form>(r.data(), ScalarTarget{}, share(w.real), wanted.data(), yes, real);
  CHECK_AT(same<T>(by_real, wanted), real);
  wanted.resize(static_cast<size_t>(fake));
  backward_cpu<T, Form>(f.data(), ScalarTarget{}, share(w.fake), wanted.data(), no, fake);
  CHECK_AT(same<T>(by_fake, wanted), fake);
}

template <class T, class Form>
void all_of() {
  for (const int64_t n : {1, 7, 8, 9, 2047, 2048, 2049, 40001}) {
    for (const int64_t offset : {0, 1, 3}) against_cpu<T, Form>(n, offset, n > 3000 ? 1 : 132);
  }
  for (const bool joint : {false, true}) {
    for (const int64_t offset : {0, 1}) {
      two_halves<T, Form>(60, 60, offset, 132, joint);
      two_halves<T, Form>(1, 2048, offset, 132, joint);
      two_halves<T, Form>(2049, 5, offset, 132, joint);
      two_halves<T, Form>(9001, 40001, offset, 1, joint);
    }
  }
}

template <class T>
void all() {
  all_of<T, Logits>();
  all_of<T, Probabilities>();
}

}  // namespace

int main() {
  all<Float64>();
  all<Float32>();
  all<BFloat16>();
  all<Float16>();
  return gankit_test::finish();
}
