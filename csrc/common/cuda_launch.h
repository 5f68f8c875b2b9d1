// Shared by the CUDA launchers: the current stream of the tensor's device, and the grid.
#pragma once

#ifndef USE_CUDA
#define USE_CUDA  // opens the stream functions of the shim
#endif
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace gankit {

struct CudaLaunch {
  cudaStream_t stream;
  int multiprocessors;
};

// The guard that makes the device current belongs to the caller and must outlive the launch.
inline CudaLaunch cuda_launch(const torch::stable::Tensor& x) {
  const auto device = x.get_device_index();
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  int multiprocessors = 0;
  const cudaError_t status =
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  STD_TORCH_CHECK(status == cudaSuccess, "cannot read the multiprocessor count of cuda:", device,
                  ": ", cudaGetErrorString(status));
  return {static_cast<cudaStream_t>(stream), multiprocessors};
}

inline void check_launch(const char* kernel, cudaError_t status) {
  STD_TORCH_CHECK(status == cudaSuccess, kernel, ": launch failed: ", cudaGetErrorString(status));
}

}  // namespace gankit
