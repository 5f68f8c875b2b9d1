// A test is a function that calls CHECK; main() returns finish(). Include this header first: it
// holds the thread count that csrc/common/parallel.h is compiled with here.
#pragma once

#include <cstdint>
#include <cstdio>

inline int gankit_test_threads = 1;

namespace gankit_test {

inline int64_t checks = 0;
inline int64_t failures = 0;

inline void fail(const char* file, int line, const char* condition) {
  ++failures;
  if (failures <= 20) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, condition);
}

// A test that checks nothing is a broken test.
inline int finish() {
  std::printf("%lld checks, %lld failures\n", static_cast<long long>(checks),
              static_cast<long long>(failures));
  return failures == 0 && checks > 0 ? 0 : 1;
}

}  // namespace gankit_test

#define CHECK(condition)                                                 \
  do {                                                                   \
    ++gankit_test::checks;                                               \
    if (!(condition)) gankit_test::fail(__FILE__, __LINE__, #condition); \
  } while (0)

// For loops: says with which number it failed.
#define CHECK_AT(condition, number)                                          \
  do {                                                                       \
    ++gankit_test::checks;                                                   \
    if (!(condition)) {                                                      \
      gankit_test::fail(__FILE__, __LINE__, #condition);                     \
      if (gankit_test::failures <= 20) {                                     \
        std::fprintf(stderr, "  at %lld\n", static_cast<long long>(number)); \
      }                                                                      \
    }                                                                        \
  } while (0)
