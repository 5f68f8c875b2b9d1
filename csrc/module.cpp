// The Python module gankit._C. Importing it runs the registrations of every csrc/*/*_cpu.cpp;
// the module itself only says how it was built. The ops go through torch's dispatcher.
#include <pybind11/pybind11.h>

#include <torch/headeronly/version.h>
#include <filesystem>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace {

namespace py = pybind11;

// What the clones of csrc/common/simd.h resolve to on this machine.
std::string isa_in_use() {
#if defined(GANKIT_CLONES)
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
  return "x86-64";
#elif defined(__x86_64__)
  return "x86-64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "generic";
#endif
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

// _C_cuda is a library of its own that lies beside this module when it was built.
bool cuda_built() {
#if defined(__unix__) || defined(__APPLE__)
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&cuda_built), &info) == 0) return false;
  std::error_code error;
  return std::filesystem::exists(std::filesystem::path(info.dli_fname).parent_path() / "_C_cuda.so",
                                 error);
#else
  return false;
#endif
}

std::string torch_target() {
  constexpr unsigned long long kTarget = GANKIT_TORCH_TARGET;
  return std::to_string(kTarget >> 56) + "." + std::to_string((kTarget >> 48) & 0xff);
}

py::dict build_info() {
  py::dict info;
  info["version"] = GANKIT_VERSION;
  info["torch_headers"] = TORCH_VERSION;
  info["torch_target"] = torch_target();
  info["compiler"] = compiler();
  info["cxx_standard"] = static_cast<long>(__cplusplus);
#if defined(GANKIT_CLONES)
  info["clones"] = true;
#else
  info["clones"] = false;
#endif
  info["isa"] = isa_in_use();
  info["cuda_built"] = cuda_built();
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "gankit's CPU kernels; importing it registers them with torch";
  m.def("build_info", &build_info,
        "How this module was built: version, torch_headers, torch_target, compiler, cxx_standard, "
        "clones, isa (in use on this machine) and cuda_built.");
}
