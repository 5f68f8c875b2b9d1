# The targets. An op is added by adding files: csrc/<op>/<op>_cpu.cpp, _cuda.cu and _cuda.cpp are
# found by their names.

# Flags for every translation unit of ours. NaN and signed zero matter, so no -ffast-math.
add_library(gankit_flags INTERFACE)
# The tests include from csrc/. nvcc would cut the folder in two at a comma, and needs it nowhere.
target_include_directories(gankit_flags
                           INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/csrc>")
target_compile_options(
  gankit_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-fno-math-errno;-fno-trapping-math>")
# Messages name the file they come from: as the repository has it, not the machine that built it.
# The flag cuts its value at the first "=", and nvcc a flag for the host's compiler at commas: in
# folders of such names the messages have the whole path.
if(NOT PROJECT_SOURCE_DIR MATCHES "=")
  target_compile_options(
    gankit_flags
    INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>")
endif()
if(NOT PROJECT_SOURCE_DIR MATCHES "[=,]")
  target_compile_options(
    gankit_flags
    INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>")
endif()
if(GANKIT_CLONES)
  target_compile_definitions(gankit_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:GANKIT_CLONES>")
endif()
if(GANKIT_SANITIZE)
  list(JOIN GANKIT_SANITIZE "," gankit_sanitizers)
  set(gankit_sanitizers "-fsanitize=${gankit_sanitizers}")
  target_compile_options(gankit_flags INTERFACE ${gankit_sanitizers} -fno-sanitize-recover=all
                                                -fno-omit-frame-pointer -g)
  target_link_options(gankit_flags INTERFACE ${gankit_sanitizers})
endif()

# Links `libraries` so that they stay recorded as needed, exports what `map` names (a version script
# beside this file) and removes the symbol table.
function(gankit_link target map)
  target_link_libraries(${target} PRIVATE gankit_flags gankit_torch)
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    # A copy in the folder where Ninja links, for a name without a path: the compiler cuts what
    # follows -Wl at commas.
    configure_file("${PROJECT_SOURCE_DIR}/cmake/${map}" "${CMAKE_BINARY_DIR}/${map}" COPYONLY)
    target_link_options(${target} PRIVATE -Wl,--no-as-needed -Wl,--allow-shlib-undefined
                        -Wl,--exclude-libs,ALL "-Wl,--version-script=${map}")
    set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${CMAKE_BINARY_DIR}/${map}")
    if(NOT GANKIT_SANITIZE)
      target_link_options(${target} PRIVATE -Wl,-s)
    endif()
  elseif(APPLE)
    target_link_options(${target} PRIVATE -undefined dynamic_lookup -Wl,-x)
  endif()
  foreach(library IN LISTS ARGN)
    gankit_import_torch_library(${library})
    target_link_libraries(${target} PRIVATE ${library})
  endforeach()
  set_target_properties(${target} PROPERTIES PREFIX "")
  install(TARGETS ${target} LIBRARY DESTINATION . RUNTIME DESTINATION .)
endfunction()

function(gankit_add_cpu_module)
  set(pybind11 "${GANKIT_PYBIND11_INCLUDE}")
  if(NOT pybind11)
    set(pybind11 "${GANKIT_TORCH_DIR}/include") # torch ships a copy
  endif()
  # On its own, because torch's copy of pybind11 refuses the stable ABI's definitions, and so that
  # nothing but module.cpp sees Python.
  add_library(gankit_module OBJECT "${PROJECT_SOURCE_DIR}/csrc/module.cpp")
  target_link_libraries(gankit_module PRIVATE gankit_flags)
  target_include_directories(
    gankit_module SYSTEM PRIVATE "${pybind11}" "${GANKIT_PYTHON_INCLUDE}"
                                 "${GANKIT_TORCH_DIR}/include")
  target_compile_definitions(gankit_module PRIVATE GANKIT_VERSION="${GANKIT_VERSION}"
                                                   GANKIT_TORCH_TARGET=${GANKIT_TORCH_TARGET})

  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/csrc/*/*_cpu.cpp")
  list(FILTER sources EXCLUDE REGEX "/csrc/tests/")
  add_library(_C MODULE $<TARGET_OBJECTS:gankit_module> ${sources})
  set_target_properties(_C PROPERTIES SUFFIX "${GANKIT_EXT_SUFFIX}")
  gankit_link(_C module.map torch_cpu)
endfunction()

function(gankit_add_cuda_library)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/csrc/*/*_cuda.cu"
       "${PROJECT_SOURCE_DIR}/csrc/*/*_cuda.cpp")
  list(FILTER sources EXCLUDE REGEX "/csrc/tests/")
  add_library(_C_cuda SHARED ${sources})
  set_target_properties(
    _C_cuda
    PROPERTIES SUFFIX ".so"
               CUDA_STANDARD 17 # CMake 3.25 knows no later one for nvcc
               CUDA_STANDARD_REQUIRED ON
               CUDA_RUNTIME_LIBRARY Static
               CUDA_RESOLVE_DEVICE_SYMBOLS OFF)
  target_compile_definitions(_C_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:USE_CUDA>")
  target_include_directories(
    _C_cuda SYSTEM
    PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}>")
  gankit_link(_C_cuda library.map torch_cpu torch_cuda)
endfunction()
