// Macros that let one plain loop serve every machine: host/device qualifiers, and function clones
// that the loader picks by the instruction set of the CPU it runs on.
#pragma once

#if defined(__CUDACC__)
#define GANKIT_HD __host__ __device__ __forceinline__
#define GANKIT_UNROLL _Pragma("unroll")
#define GANKIT_NO_UNROLL _Pragma("unroll 1")
#else
// Always inlined, because a helper that stays a call inside a cloned loop would be compiled for
// the baseline instruction set and would stop the loop from being vectorised.
#define GANKIT_HD inline __attribute__((always_inline))
#define GANKIT_UNROLL
#define GANKIT_NO_UNROLL
#endif

// GANKIT_CLONES comes from a configure-time check: it needs GCC >= 12 or clang >= 18, and ifunc.
// ThreadSanitizer crashes in ifunc resolvers, so its build leaves the clones out.
#if defined(GANKIT_CLONES) && !defined(GANKIT_NO_CLONES)
#define GANKIT_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GANKIT_SIMD
#endif

// Before a loop none of whose iterations reads what another writes, which the compiler can't see
// where a result may lie on an input.
#if defined(__clang__)
#define GANKIT_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__) && !defined(__CUDACC__)
#define GANKIT_INDEPENDENT _Pragma("GCC ivdep")
#else
#define GANKIT_INDEPENDENT
#endif

// GANKIT_SIMD for loops whose products are rounded before they are added, because every backend is
// to give the same bits (clang has a pragma for the place itself).
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define GANKIT_SIMD_UNFUSED GANKIT_SIMD __attribute__((optimize("fp-contract=off")))
#else
#define GANKIT_SIMD_UNFUSED GANKIT_SIMD
#endif
