// Products of matrices with few rows or few terms, as the layers of small networks and their
// gradients have them: y = x W^T + b in float32, on plain pointers.
//
// A library packs the weight anew for every product, which many rows repay and 60 do not. Here x is
// packed where the weight's rows lie in one piece, and y computed by rows of its transpose; else
// the weight is packed as it lies, a panel at a time, without transposing it. For AVX-512, written
// with intrinsics because compilers do not keep a tile of 24 accumulators in registers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/parallel.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define GANKIT_LINEAR_KERNEL 1
#if defined(__GNUC__) && !defined(__clang__)
// GCC's own intrinsics start masked operations from a deliberately undefined vector.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace gankit::linear {

// Element (i, j) lies at data[i * row + j * column]; one of the two strides is 1.
struct Matrix {
  const float* data;
  int64_t row, column;
};

#if GANKIT_LINEAR_KERNEL

#define GANKIT_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma")))
#define GANKIT_AVX512_INLINE GANKIT_AVX512 inline __attribute__((always_inline))

constexpr int64_t kVector = 16;
constexpr int kRows = 6, kVectors = 4;         // of a tile: 24 accumulators of 32 registers
constexpr int64_t kWide = kVectors * kVector;  // columns of a panel
constexpr int64_t kTerms = 256;        // of a packed block: 64 kB, a part of the second cache
constexpr int64_t kAhead = 8;          // rows between a read and the fetch before it
constexpr int64_t kBlock = 8 * kRows;  // rows whose transposed results wait in the first

GANKIT_AVX512_INLINE __mmask16 first_lanes(int64_t n) {
  return n >= kVector ? static_cast<__mmask16>(0xFFFF)
                      : static_cast<__mmask16>((1u << std::max<int64_t>(n, 0)) - 1u);
}

// out[kR, kV vectors] (+)= a[kR, terms] * packed[terms, kV vectors]; a may have any strides.
template <int kR, int kV>
GANKIT_AVX512_INLINE void tile(const float* a, int64_t row, int64_t column, const float* packed,
                               int64_t terms, float* out, int64_t stride, const __m512* start,
                               __mmask16 last) {
  __m512 sum[kR][kV];
#pragma GCC unroll 8
  for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const __mmask16 mask = v == kV - 1 ? last : static_cast<__mmask16>(0xFFFF);
      sum[i][v] =
          start != nullptr ? start[v] : _mm512_maskz_loadu_ps(mask, out + i * stride + v * kVector);
    }
  }
  for (int64_t k = 0; k < terms; ++k, a += column, packed += kV * kVector) {
    __m512 b[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) b[v] = _mm512_loadu_ps(packed + v * kVector);
#pragma GCC unroll 8
    for (int i = 0; i < kR; ++i) {
      const __m512 factor = _mm512_set1_ps(a[i * row]);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) sum[i][v] = _mm512_fmadd_ps(factor, b[v], sum[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const __mmask16 mask = v == kV - 1 ? last : static_cast<__mmask16>(0xFFFF);
      _mm512_mask_storeu_ps(out + i * stride + v * kVector, mask, sum[i][v]);
    }
  }
}

// The same for `rows` rows.
template <int kV>
GANKIT_AVX512 void tiles(int64_t rows, const Matrix& a, const float* packed, int64_t terms,
                         float* out, int64_t stride, const __m512* start, __mmask16 last) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    tile<kRows, kV>(a.data + i * a.row, a.row, a.column, packed, terms, out + i * stride, stride,
                    start, last);
  }
  const float* rest = a.data + i * a.row;
  float* to = out + i * stride;
  switch (rows - i) {
    case 5:
      return tile<5, kV>(rest, a.row, a.column, packed, terms, to, stride, start, last);
    case 4:
      return tile<4, kV>(rest, a.row, a.column, packed, terms, to, stride, start, last);
    case 3:
      return tile<3, kV>(rest, a.row, a.column, packed, terms, to, stride, start, last);
    case 2:
      return tile<2, kV>(rest, a.row, a.column, packed, terms, to, stride, start, last);
    case 1:
      return tile<1, kV>(rest, a.row, a.column, packed, terms, to, stride, start, last);
    default:
      return;
  }
}

// `width` columns, of which the last vector may have few.
GANKIT_AVX512 inline void panel(int64_t rows, const Matrix& a, const float* packed, int64_t terms,
                                float* out, int64_t stride, int64_t width, const __m512* start) {
  const int64_t vectors = (width + kVector - 1) / kVector;
  const __mmask16 last = first_lanes(width - (vectors - 1) * kVector);
  switch (vectors) {
    case 4:
      return tiles<4>(rows, a, packed, terms, out, stride, start, last);
    case 3:
      return tiles<3>(rows, a, packed, terms, out, stride, start, last);
    case 2:
      return tiles<2>(rows, a, packed, terms, out, stride, start, last);
    default:
      return tiles<1>(rows, a, packed, terms, out, stride, start, last);
  }
}

// 16 x 16 floats, transposed in four rounds of interleaving.
GANKIT_AVX512_INLINE void transpose(__m512 (&r)[16]) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high =
      _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  __m512 t[16];
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      t[2 * i] = _mm512_permutex2var_ps(r[i], low, r[i + 8]);
      t[2 * i + 1] = _mm512_permutex2var_ps(r[i], high, r[i + 8]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = t[i];
  }
}

// to[c, r] = from[r, c] for rows x columns of at most 16 each, zeros beyond the rows.
GANKIT_AVX512_INLINE void transpose_block(const float* from, int64_t from_stride, int64_t rows,
                                          int64_t columns, float* to, int64_t to_stride,
                                          __mmask16 stored, const float* added) {
  __m512 r[16];
  const __mmask16 mask = first_lanes(columns);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    r[i] = i < rows ? _mm512_maskz_loadu_ps(mask, from + i * from_stride) : _mm512_setzero_ps();
  }
  transpose(r);
  const __m512 shift =
      added == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(stored, added);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    if (i >= columns) break;
    const __m512 value = added == nullptr ? r[i] : _mm512_add_ps(r[i], shift);
    _mm512_mask_storeu_ps(to + i * to_stride, stored, value);
  }
}

// packed[k, c] = b[k, c] of `terms` rows and `width` columns, zeros beyond up to whole vectors.
GANKIT_AVX512 inline void pack(const Matrix& b, int64_t terms, int64_t width, float* packed) {
  const int64_t vectors = (width + kVector - 1) / kVector, stride = vectors * kVector;
  if (b.column == 1) {
    for (int64_t k = 0; k < terms; ++k) {
      for (int64_t v = 0; v < vectors; ++v) {
        const __mmask16 mask = first_lanes(width - v * kVector);
        const float* from = b.data + k * b.row + v * kVector;
        // Rows far apart are none that the processor would fetch ahead by itself.
        _mm_prefetch(reinterpret_cast<const char*>(from + kAhead * b.row), _MM_HINT_T0);
        _mm512_storeu_ps(packed + k * stride + v * kVector, _mm512_maskz_loadu_ps(mask, from));
      }
    }
    return;
  }
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t lanes = std::min(kVector, width - v * kVector);
    for (int64_t k = 0; k < terms; k += kVector) {
      transpose_block(b.data + v * kVector * b.column + k, b.column, lanes,
                      std::min(kVector, terms - k), packed + k * stride + v * kVector, stride,
                      static_cast<__mmask16>(0xFFFF), nullptr);
    }
  }
}

// Memory for all parts of a product, taken before they run. Kept from call to call up to 16 MiB,
// because a fresh block would fault on every page.
class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    thread_local std::vector<float> kept;
    std::vector<float>& memory = floats > kMostKept ? own_ : kept;
    const auto size = static_cast<size_t>(floats + kVector);
    if (memory.size() < size) memory.resize(size);
    // To a whole line of the cache, so that no vector lies on two.
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    data_ = memory.data() + (64 - address % 64) % 64 / sizeof(float);
  }

  float* data() const { return data_; }

 private:
  static constexpr int64_t kMostKept = int64_t{1} << 22;
  std::vector<float> own_;
  float* data_;
};

// Calls body(first, width) for panels of about equal width that make up columns [begin, end), in
// whole vectors but for the last.
template <class Body>
void for_each_panel(int64_t begin, int64_t end, const Body& body) {
  const int64_t vectors = (end - begin + kVector - 1) / kVector;
  const int64_t panels = (vectors + kVectors - 1) / kVectors;
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t first = begin + p * vectors / panels * kVector;
    const int64_t stop = std::min(end, begin + (p + 1) * vectors / panels * kVector);
    body(first, stop - first);
  }
}

// Columns [begin, end) of y = x * b + bias.
GANKIT_AVX512 inline void by_columns(const Matrix& x, const Matrix& b, const float* bias, float* y,
                                     int64_t rows, int64_t inputs, int64_t outputs, int64_t begin,
                                     int64_t end, float* packed) {
  for_each_panel(begin, end, [&](int64_t first, int64_t width) GANKIT_AVX512 {
    __m512 start[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = first_lanes(width - v * kVector);
      start[v] = bias == nullptr ? _mm512_setzero_ps()
                                 : _mm512_maskz_loadu_ps(mask, bias + first + v * kVector);
    }
    for (int64_t k = 0; k < inputs; k += kTerms) {
      const int64_t terms = std::min(kTerms, inputs - k);
      pack({b.data + k * b.row + first * b.column, b.row, b.column}, terms, width, packed);
      panel(rows, {x.data + k * x.column, x.row, x.column}, packed, terms, y + first, outputs,
            width, k == 0 ? start : nullptr);
    }
  });
}

// Columns [begin, end) of y, by the rows of its transpose weight * x^T.
GANKIT_AVX512 inline void by_rows(const Matrix& x, const Matrix& weight, const float* bias,
                                  float* y, int64_t rows, int64_t inputs, int64_t outputs,
                                  int64_t begin, int64_t end, float* packed) {
  float* waiting = packed + inputs * kWide;
  const __m512 zeros[kVectors] = {};
  for_each_panel(0, rows, [&](int64_t first, int64_t width) GANKIT_AVX512 {
    const int64_t stride = (width + kVector - 1) / kVector * kVector;
    pack({x.data + first * x.row, x.column, x.row}, inputs, width, packed);
    for (int64_t o = begin; o < end; o += kBlock) {
      const int64_t count = std::min(kBlock, end - o);
      for (int64_t k = 0; k < inputs; k += kTerms) {
        const Matrix part{weight.data + o * weight.row + k * weight.column, weight.row,
                          weight.column};
        panel(count, part, packed + k * stride, std::min(kTerms, inputs - k), waiting, stride,
              stride, k == 0 ? zeros : nullptr);
      }
      for (int64_t i = 0; i < width; i += kVector) {
        for (int64_t c = 0; c < count; c += kVector) {
          const int64_t n = std::min(kVector, count - c);
          transpose_block(waiting + c * stride + i, stride, n, std::min(kVector, width - i),
                          y + (first + i) * outputs + o + c, outputs, first_lanes(n),
                          bias == nullptr ? nullptr : bias + o + c);
        }
      }
    }
  });
}

// Whether the processor has what the kernel needs.
inline bool has_kernel() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

// y[i, o] = sum_k x[i, k] weight[o, k] + bias[o]; y is contiguous, bias may be null. Each sum is
// taken in the order of k, whatever the number of threads: the same bits.
inline void linear_cpu(const Matrix& x, const Matrix& weight, const float* bias, float* y,
                       int64_t rows, int64_t inputs, int64_t outputs, int64_t threads) {
  if (inputs == 0) {
    for (int64_t i = 0; i < rows * outputs; ++i) y[i] = bias == nullptr ? 0.0f : bias[i % outputs];
    return;
  }
  const bool lies_as_packed = weight.row == 1;
  const int64_t unit = lies_as_packed ? kVector : kRows;
  const int64_t units = (outputs + unit - 1) / unit, parts = std::min(threads, units);
  const int64_t each =
      lies_as_packed ? std::min(inputs, kTerms) * kWide : (inputs + kBlock) * kWide;
  const Scratch scratch(parts * each);
  parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t part = from; part < to; ++part) {
      const int64_t begin = part * units / parts * unit;
      const int64_t end = std::min(outputs, (part + 1) * units / parts * unit);
      if (lies_as_packed) {
        const Matrix b{weight.data, weight.column, weight.row};
        by_columns(x, b, bias, y, rows, inputs, outputs, begin, end, scratch.data() + part * each);
      } else {
        by_rows(x, weight, bias, y, rows, inputs, outputs, begin, end,
                scratch.data() + part * each);
      }
    }
  });
}

#undef GANKIT_AVX512
#undef GANKIT_AVX512_INLINE
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#else

inline bool has_kernel() {
  return false;
}

inline void linear_cpu(const Matrix&, const Matrix&, const float*, float*, int64_t, int64_t,
                       int64_t, int64_t) {}

#endif

}  // namespace gankit::linear
