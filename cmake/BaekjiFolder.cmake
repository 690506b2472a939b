# One target per folder (design: a wrong call does not link). Everything that decides how code is compiled is here.

add_library(baekji_options INTERFACE)
target_include_directories(baekji_options INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(baekji_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Werror
  # Argument structs are filled by designated initialisers; what is left out keeps its default.
  -Wno-missing-field-initializers
  # Numerics contract: a fused multiply-add only where the source writes one, and no reassociation.
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 reports overflows and overlaps inside {fmt} 9 and std::string that cannot happen.
  target_compile_options(baekji_options INTERFACE -Wno-stringop-overflow -Wno-array-bounds -Wno-restrict)
  if(CMAKE_UNITY_BUILD)
    # A unity file includes sources, and gcc takes their local types for those of a header.
    target_compile_options(baekji_options INTERFACE -Wno-subobject-linkage)
  endif()
endif()
if(BAEKJI_NATIVE)
  target_compile_options(baekji_options INTERFACE -march=native)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # AVX-512 machines: gcc 12 would otherwise keep to 256-bit vectors.
    target_compile_options(baekji_options INTERFACE -mprefer-vector-width=512)
  endif()
endif()
if(BAEKJI_SANITIZE)
  target_compile_options(baekji_options INTERFACE -fsanitize=${BAEKJI_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(baekji_options INTERFACE -fsanitize=${BAEKJI_SANITIZE})
endif()

# baekji_folder(NAME LINKS...): the static library of the folder this is called in, from all its .cpp files.
function(baekji_folder name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  add_library(baekji_${name} STATIC ${sources})
  target_link_libraries(baekji_${name} PUBLIC baekji_options ${ARGN})
endfunction()

# baekji_test(FOLDER LINKS...): one GoogleTest program for tests/FOLDER, its cases registered with CTest.
function(baekji_test folder)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/${folder}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  add_executable(${folder}_test ${sources})
  target_link_libraries(${folder}_test PRIVATE ${ARGN} GTest::gtest_main GTest::gmock)
  # Half of the suite's build time is optimising code that runs once.
  target_compile_options(${folder}_test PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1>)
  target_compile_definitions(${folder}_test PRIVATE
    BAEKJI_SOURCE_DIR="${CMAKE_SOURCE_DIR}" BAEKJI_BINARY="$<TARGET_FILE:baekji>")
  add_dependencies(${folder}_test baekji)  # some cases start the program itself
  gtest_discover_tests(${folder}_test TEST_PREFIX "${folder}." DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endfunction()
