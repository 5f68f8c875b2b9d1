// The kernel of small products against sums of small integers, which float32 holds exactly: every
// way that x and the weight can lie, all tails, gaps between rows, and any number of threads.
// Buffers end where the matrices do, so that the address sanitizer sees a vector that reads on.
#include "check.h"

#include <vector>

#include "linear/linear_cpu.h"

namespace {

using namespace gankit::linear;

struct Filled {
  std::vector<float> values;
  Matrix matrix;

  float at(int64_t i, int64_t j) const { return matrix.data[i * matrix.row + j * matrix.column]; }
};

Filled filled(int64_t rows, int64_t columns, bool by_rows, int64_t gap, uint32_t state) {
  const int64_t lines = by_rows ? rows : columns, length = by_rows ? columns : rows;
  const int64_t stride = length + gap;
  Filled f;
  f.values.resize(static_cast<size_t>(lines == 0 ? 0 : (lines - 1) * stride + length));
  for (float& value : f.values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int32_t>(state >> 28) - 7);
  }
  f.matrix = {f.values.data(), by_rows ? stride : 1, by_rows ? 1 : stride};
  return f;
}

void against_definition(int64_t rows, int64_t inputs, int64_t outputs) {
  for (const int layout : {0, 1, 2, 3}) {
    for (const int64_t gap : {0, 3}) {
      const Filled x = filled(rows, inputs, layout % 2 == 0, gap, 1);
      const Filled weight = filled(outputs, inputs, layout / 2 == 0, gap, 2);
      const Filled bias = filled(1, outputs, true, 0, 3);
      for (const bool biased : {false, true}) {
        for (const int64_t threads : {1, 2, 5}) {
          std::vector<float> y(static_cast<size_t>(rows * outputs), -1.0f);
          linear_cpu(x.matrix, weight.matrix, biased ? bias.values.data() : nullptr, y.data(), rows,
                     inputs, outputs, threads);
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t o = 0; o < outputs; ++o) {
              float wanted = biased ? bias.values[static_cast<size_t>(o)] : 0.0f;
              for (int64_t k = 0; k < inputs; ++k) wanted += x.at(i, k) * weight.at(o, k);
              CHECK_AT(y[static_cast<size_t>(i * outputs + o)] == wanted, i * outputs + o);
            }
          }
        }
      }
    }
  }
}

}  // namespace

int main() {
  if (!has_kernel()) {
    std::puts("no AVX-512 here: nothing to test");
    return 0;
  }
  gankit_test_threads = 3;
  for (const int64_t rows : {1, 5, 6, 16, 61, 130}) {
    for (const int64_t inputs : {0, 1, 17, 256, 300}) {
      for (const int64_t outputs : {1, 6, 15, 16, 53, 70}) {
        against_definition(rows, inputs, outputs);
      }
    }
  }
  return gankit_test::finish();
}
