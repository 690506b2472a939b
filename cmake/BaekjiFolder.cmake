# One target per folder (design: a wrong call does not link). Everything that decides how code is compiled is here.

add_library(baekji_options INTERFACE)
target_include_directories(baekji_options INTERFACE "${CMAKE_SOURCE_DIR}")
# baekji_compile_options(OPTIONS...): for the C++ compiler; nvcc hands none of them on.
function(baekji_compile_options)
  foreach(option ${ARGN})
    target_compile_options(baekji_options INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:${option}>")
  endforeach()
endfunction()
baekji_compile_options(
  -Wall -Wextra -Wconversion -Wshadow -Werror
  # Argument structs are filled by designated initialisers; what is left out keeps its default.
  -Wno-missing-field-initializers
  # Numerics contract: a fused multiply-add only where the source writes one, and no reassociation.
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  -fno-omit-frame-pointer)
if(BAEKJI_WITH_CUDA)
  # The same for the device; constexpr functions of core/ are called there too. 186: comparisons that narrow() makes for
  # unsigned types. FMT_USE_CONSTEXPR: {fmt} 9 takes it from nvcc, and then cannot check format strings.
  target_compile_options(baekji_options INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-DFMT_USE_CONSTEXPR=1;\
--expt-relaxed-constexpr;-fmad=false;-ftz=false;-prec-div=true;-prec-sqrt=true;--diag-suppress=186;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers;-Werror=all-warnings>")
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 reports overflows and overlaps inside {fmt} 9 and std::string that cannot happen.
  baekji_compile_options(-Wno-stringop-overflow -Wno-array-bounds -Wno-restrict)
  if(CMAKE_UNITY_BUILD)
    # A unity file includes sources, and gcc takes their local types for those of a header.
    baekji_compile_options(-Wno-subobject-linkage)
  endif()
endif()
if(BAEKJI_NATIVE)
  baekji_compile_options(-march=native)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # AVX-512 machines: gcc 12 would otherwise keep to 256-bit vectors.
    baekji_compile_options(-mprefer-vector-width=512)
  endif()
elseif(BAEKJI_MARCH)
  baekji_compile_options(-march=${BAEKJI_MARCH})
endif()
if(BAEKJI_SANITIZE)
  baekji_compile_options(-fsanitize=${BAEKJI_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(baekji_options INTERFACE -fsanitize=${BAEKJI_SANITIZE})
endif()

# baekji_folder(NAME LINKS...): the static library of the folder this is called in, from all its .cpp files.
function(baekji_folder name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  # What needs the CUDA toolkit, and its stubs, are one library for all folders: cmake/Cuda.cmake.
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$|/cuda/|_cuda\\.cpp$|_nccl\\.cpp$|_none\\.cpp$")
  add_library(baekji_${name} STATIC ${sources})
  target_link_libraries(baekji_${name} PUBLIC baekji_options ${ARGN})
endfunction()

# baekji_test(FOLDER LINKS... [WITHOUT_PROGRAM]): one GoogleTest program for tests/FOLDER, its cases registered
# with CTest. Unless told otherwise it may start the program itself, which is then built first.
function(baekji_test folder)
  cmake_parse_arguments(PARSE_ARGV 1 test "WITHOUT_PROGRAM" "" "")
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/${folder}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  add_executable(${folder}_test ${sources})
  target_link_libraries(${folder}_test PRIVATE ${test_UNPARSED_ARGUMENTS} GTest::gtest_main GTest::gmock)
  # Half of the suite's build time is optimising code that runs once.
  target_compile_options(${folder}_test PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1>)
  if(BAEKJI_SANITIZE)
    # gcc 12 sees uninitialised values in empty optionals once it instruments them.
    target_compile_options(${folder}_test PRIVATE -Wno-maybe-uninitialized)
  endif()
  target_compile_definitions(${folder}_test PRIVATE BAEKJI_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(NOT test_WITHOUT_PROGRAM)
    target_compile_definitions(${folder}_test PRIVATE BAEKJI_BINARY="$<TARGET_FILE:baekji>")
    add_dependencies(${folder}_test baekji)
  endif()
  gtest_discover_tests(${folder}_test TEST_PREFIX "${folder}." DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endfunction()
