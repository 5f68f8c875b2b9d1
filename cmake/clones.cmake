# Sets GANKIT_CLONES where one function compiled for several instruction sets works: GCC 12 or
# clang 18, an x86-64 machine, and a loader with ifunc. csrc/common/simd.h reads the definition.
include(CheckCXXSourceCompiles)

set(GANKIT_CLONES OFF)
if(GANKIT_NO_CLONES)
  message(STATUS "gankit: clones off (GANKIT_NO_CLONES)")
elseif("thread" IN_LIST GANKIT_SANITIZE)
  # ThreadSanitizer instruments the ifunc resolver, which runs before its runtime is up.
  message(STATUS "gankit: clones off (ThreadSanitizer)")
else()
  set(CMAKE_REQUIRED_FLAGS "-fPIC -fvisibility=hidden -Werror")
  check_cxx_source_compiles(
    [[
    #if !defined(__x86_64__) || !defined(__linux__)
    #error "x86-64 Linux only"
    #endif
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
    void scale(float* x, long n) {
      for (long i = 0; i < n; ++i) x[i] *= 2.0f;
    }
    int main() {
      float x[32] = {1.0f};
      scale(x, 32);
      return __builtin_cpu_supports("x86-64-v4") ? 0 : static_cast<int>(x[0]) - 2;
    }
    ]]
    GANKIT_HAVE_CLONES)
  unset(CMAKE_REQUIRED_FLAGS)
  set(GANKIT_CLONES ${GANKIT_HAVE_CLONES})
endif()
