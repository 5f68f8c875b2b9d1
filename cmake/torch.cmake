# torch's headers and libraries, without find_package(Torch): only the stable ABI is used, and that
# package would look for CUDA, Caffe2 and protobuf first.
if(NOT EXISTS "${GANKIT_TORCH_DIR}/include/torch/csrc/stable/library.h")
  message(FATAL_ERROR "GANKIT_TORCH_DIR is '${GANKIT_TORCH_DIR}', which holds no "
                      "include/torch/csrc/stable/library.h; give the torch package folder of "
                      "torch 2.11 or later")
endif()

# 2.11 is the oldest torch that the binary shall load in.
set(GANKIT_TORCH_TARGET 0x020b000000000000)
add_library(gankit_torch INTERFACE)
target_compile_definitions(gankit_torch INTERFACE TORCH_TARGET_VERSION=${GANKIT_TORCH_TARGET}
                                                  TORCH_STABLE_ONLY)
# The CUDA compiler gets no torch header: kernels take plain pointers.
target_include_directories(
  gankit_torch SYSTEM INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${GANKIT_TORCH_DIR}/include>")

function(gankit_import_torch_library name)
  set(file "${GANKIT_TORCH_DIR}/lib/lib${name}${CMAKE_SHARED_LIBRARY_SUFFIX}")
  if(EXISTS "${file}")
    add_library(${name} SHARED IMPORTED)
    set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${file}")
  else()
    # Headers without libraries (another torch build, a header archive): an empty library of the
    # same name records the dependency that the loader resolves later.
    set(stub "${CMAKE_CURRENT_BINARY_DIR}/stub/${name}.cpp")
    file(WRITE "${stub}" "")
    add_library(${name} SHARED "${stub}")
    set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY
                                             "${CMAKE_CURRENT_BINARY_DIR}/stub")
  endif()
endfunction()
