// parallel_for over torch's own thread pool: one pool in the process, no OpenMP of ours.
// The callable must not throw. Defining GANKIT_TEST_THREADS replaces the pool by plain
// std::threads, so that the C++ tests need no torch and ThreadSanitizer sees every edge.
#pragma once

#include <cstdint>

#if defined(GANKIT_TEST_THREADS)

#include <algorithm>
#include <thread>
#include <vector>

namespace gankit {

template <class F>
inline void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  const int64_t total = end - begin;
  if (total <= 0) return;
  const int64_t wanted = (total + grain - 1) / grain;
  const int64_t workers = std::min<int64_t>(GANKIT_TEST_THREADS, wanted);
  if (workers == 1) return f(begin, end);
  const int64_t share = (total + workers - 1) / workers;
  std::vector<std::thread> threads;
  for (int64_t w = 0; w < workers; ++w) {
    const int64_t b = begin + w * share;
    const int64_t e = std::min(end, b + share);
    if (b < e) threads.emplace_back([&f, b, e] { f(b, e); });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace gankit

#else

#include <torch/csrc/stable/ops.h>

namespace gankit {

template <class F>
inline void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  if (end - begin <= grain) {
    if (end > begin) f(begin, end);
    return;
  }
  torch::stable::parallel_for(begin, end, grain, f);
}

}  // namespace gankit

#endif
