# The CUDA back end: found and built, or left out for stubs. BAEKJI_CUDA: AUTO (when the toolkit is there), ON (or it is an
# error), OFF.

set(BAEKJI_CUDA AUTO CACHE STRING "build the CUDA back end: AUTO, ON or OFF")
set(BAEKJI_CUDA_ARCHITECTURES "90a-real;100a-real" CACHE STRING "GPU architectures: Hopper and Blackwell")
# Where scripts/setup --cuda puts what the machine lacks.
set(BAEKJI_CUDA_ROOT "${CMAKE_SOURCE_DIR}/build/cuda" CACHE PATH "CUDA toolkit, cuDNN, NCCL and cudnn-frontend")
option(BAEKJI_CUDA_MACHINE "also look for the toolkit outside BAEKJI_CUDA_ROOT" ON)

set(BAEKJI_WITH_CUDA OFF)
if(BAEKJI_CUDA STREQUAL "OFF")
  set(cuda_why "BAEKJI_CUDA is OFF")
else()
  include(CudaParts)
  if(cuda_missing)
    list(JOIN cuda_missing ", " cuda_missing)
    set(cuda_why "${cuda_why}missing: ${cuda_missing}; scripts/setup --cuda installs what is missing")
  else()
    set(BAEKJI_WITH_CUDA ON)
  endif()
endif()

if(BAEKJI_WITH_CUDA)
  set(CMAKE_CUDA_COMPILER "${BAEKJI_NVCC}")
  set(CMAKE_CUDA_ARCHITECTURES "${BAEKJI_CUDA_ARCHITECTURES}")
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc speaks C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "Baekji: CUDA ${CUDAToolkit_VERSION} of ${CUDAToolkit_ROOT} for ${BAEKJI_CUDA_ARCHITECTURES}")
elseif(BAEKJI_CUDA STREQUAL "ON")
  message(FATAL_ERROR "Baekji: no CUDA back end; ${cuda_why}")
else()
  message(STATUS "Baekji: without CUDA; ${cuda_why}")
endif()

# baekji_device(): the sources of all folders that need the toolkit, or the stubs in their place. A library of its own, so
# that tests can put another device in its place; unity files would tie one source to the other.
function(baekji_device)
  if(BAEKJI_WITH_CUDA)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/kernels/cuda/*.cu" "${CMAKE_SOURCE_DIR}/kernels/cuda/*.cpp")
    list(APPEND sources core/device_cuda.cpp parallel/communicator_nccl.cpp parallel/group_nccl.cpp)
  else()
    set(sources core/device_none.cpp kernels/cuda_none.cpp parallel/nccl_none.cpp)
  endif()
  add_library(baekji_device STATIC ${sources})
  set_target_properties(baekji_device PROPERTIES UNITY_BUILD OFF)
  target_link_libraries(baekji_device PUBLIC baekji_options PRIVATE baekji_core baekji_kernels baekji_parallel)
  if(BAEKJI_WITH_CUDA)
    target_include_directories(baekji_device SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS} "${CUDNN_INCLUDE}"
      "${CUDNN_FRONTEND_INCLUDE}" "${NCCL_INCLUDE}")
    # Without the JSON library that cudnn-frontend brings (logs and files of graphs, which we have no use for); it calls NVRTC.
    target_compile_definitions(baekji_device PRIVATE CUDNN_FRONTEND_SKIP_JSON_LIB)
    target_link_libraries(baekji_device PRIVATE CUDA::cudart CUDA::nvrtc "${CUBLASLT_LIBRARY}" "${CUDNN_LIBRARY}" "${NCCL_LIBRARY}")
  endif()
  target_link_libraries(baekji_core PUBLIC baekji_device)
endfunction()
