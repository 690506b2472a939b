# Where the parts of the CUDA back end are. Included by cmake/Cuda.cmake; also a script of its own, which prints what is missing
# for scripts/setup_cuda.py: one search, so that what the set-up leaves alone is what the build finds.
#   cmake -DBAEKJI_CUDA_ROOT=DIR [-DBAEKJI_CUDA_MACHINE=OFF] -P cmake/CudaParts.cmake
# Sets BAEKJI_NVCC, CUDAToolkit_ROOT, NAME_INCLUDE and NAME_LIBRARY of each library, cuda_missing (names that
# scripts/setup_cuda.py knows) and cuda_why.

if(CMAKE_SCRIPT_MODE_FILE)  # what a project knows from its languages
  cmake_minimum_required(VERSION 3.25)
  set(CMAKE_FIND_LIBRARY_PREFIXES lib)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .so)
endif()

set(cuda_oldest 12.8)  # of nvcc: sm_100a came with it
set(cuda_why "")
set(cuda_missing "")
set(cuda_version 0)

# What scripts/setup --cuda installed comes first, for it installs only what the machine lacks; then the nvcc on PATH, in $CUDA_PATH,
# in the usual folder.
find_program(BAEKJI_NVCC nvcc PATHS "${BAEKJI_CUDA_ROOT}/bin" NO_DEFAULT_PATH)
if(BAEKJI_CUDA_MACHINE OR NOT DEFINED BAEKJI_CUDA_MACHINE)
  find_program(BAEKJI_NVCC nvcc PATHS ENV PATH ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin NO_DEFAULT_PATH)
endif()
if(BAEKJI_NVCC)
  execute_process(COMMAND "${BAEKJI_NVCC}" --version OUTPUT_VARIABLE nvcc ERROR_QUIET)
  if(nvcc MATCHES "release ([0-9.]+)")
    set(cuda_version ${CMAKE_MATCH_1})
  endif()
  # Its own word for where it is: what lies on PATH may be a link or a script.
  execute_process(COMMAND "${BAEKJI_NVCC}" --dryrun -E -x cu /dev/null OUTPUT_QUIET ERROR_VARIABLE nvcc)
  if(nvcc MATCHES "TOP=([^\r\n]+)")
    get_filename_component(CUDAToolkit_ROOT "${CMAKE_MATCH_1}" ABSOLUTE)
  else()
    set(cuda_version 0)
  endif()
endif()

# The libraries belong to the nvcc: beside one that scripts/setup installed, or is to install, no other's are looked for.
set(cuda_roots "${BAEKJI_CUDA_ROOT}")
if(NOT BAEKJI_NVCC)
  list(APPEND cuda_missing nvcc)
elseif(cuda_version VERSION_LESS cuda_oldest)
  list(APPEND cuda_missing nvcc)
  set(cuda_why "${BAEKJI_NVCC} is of CUDA ${cuda_version}, ${cuda_oldest} or later is needed; ")
elseif(NOT BAEKJI_NVCC STREQUAL "${BAEKJI_CUDA_ROOT}/bin/nvcc")
  set(BAEKJI_NVCC "${CUDAToolkit_ROOT}/bin/nvcc")
  list(APPEND cuda_roots "${CUDAToolkit_ROOT}" ${CMAKE_PREFIX_PATH} /usr/local/cuda /usr/local /usr)
endif()

# baekji_cuda_part(NAME VARIABLE HEADER [LIBRARY]): NAME is missing without its header or its library.
macro(baekji_cuda_part name variable header)
  find_path(${variable}_INCLUDE ${header} PATHS ${cuda_roots} PATH_SUFFIXES include include/x86_64-linux-gnu NO_DEFAULT_PATH)
  set(cuda_part ${variable}_INCLUDE)
  foreach(library ${ARGN})
    find_library(${variable}_LIBRARY ${library} PATHS ${cuda_roots} PATH_SUFFIXES lib64 lib lib/x86_64-linux-gnu NO_DEFAULT_PATH)
    list(APPEND cuda_part ${variable}_LIBRARY)
  endforeach()
  foreach(variable_of_part ${cuda_part})
    if(NOT ${variable_of_part} AND NOT ${name} IN_LIST cuda_missing)
      list(APPEND cuda_missing ${name})
    endif()
  endforeach()
endmacro()
baekji_cuda_part(cublaslt CUBLASLT cublasLt.h cublasLt)
baekji_cuda_part(cudnn CUDNN cudnn.h cudnn)
baekji_cuda_part(nccl NCCL nccl.h nccl)
baekji_cuda_part(cudnn-frontend CUDNN_FRONTEND cudnn_frontend.h)

if(CMAKE_SCRIPT_MODE_FILE)
  # Packages of CUDA 13 do not go with a machine's toolkit of another major version: then the machine's is passed over.
  if(cuda_missing MATCHES "cublaslt|cudnn;|cudnn$|nccl" AND NOT cuda_version VERSION_GREATER_EQUAL 13)
    set(cuda_missing nvcc cublaslt cudnn nccl cudnn-frontend)
  endif()
  list(JOIN cuda_missing " " cuda_missing)
  message("missing: ${cuda_missing}")
endif()
