# cmake -DSOURCE=dir -DBUILD=dir -DWORK=dir -DGENERATOR=name -P numerics_digest_test.cmake: what the kernel set is told of a
# build changes with a flag on the command line, and with any source that decides bits. Compiles nothing.
cmake_minimum_required(VERSION 3.25)

function(told_of file digest flags)
  file(READ "${file}" text)
  string(REGEX MATCH "kNumericsSourcesHex\\[\\] = \"([0-9a-f]+)\"" found "${text}")
  set(${digest} "${CMAKE_MATCH_1}" PARENT_SCOPE)
  string(REGEX MATCH "R\"flags\\((.*)\\)flags\"" found "${text}")
  set(${flags} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()
set(here "${BUILD}/proof/numerics_sources.cpp")
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BUILD}" --target numerics_digest COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
told_of("${here}" digest flags)
string(LENGTH "${digest}" length)
if(NOT length EQUAL 64 OR flags STREQUAL "")
  message(FATAL_ERROR "${here} says nothing: digest '${digest}', flags '${flags}'")
endif()

# A flag on the command line.
file(REMOVE_RECURSE "${WORK}")
execute_process(
  COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${WORK}/fast" -G "${GENERATOR}" -DCMAKE_CXX_FLAGS=-ffast-math -DCMAKE_BUILD_TYPE=Release
    -DBAEKJI_TESTS=OFF -DBAEKJI_BENCH=OFF -DBAEKJI_CUDA=OFF
  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${WORK}/fast" --target numerics_digest COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
told_of("${WORK}/fast/proof/numerics_sources.cpp" fast_digest fast_flags)
if(NOT fast_digest STREQUAL digest)
  message(FATAL_ERROR "the sources are the same: ${digest}, but with another flag ${fast_digest}")
endif()
if(flags MATCHES "-ffast-math" OR NOT fast_flags MATCHES "(^| )-ffast-math( |$)")
  message(FATAL_ERROR "-ffast-math is not where it should be: '${flags}', '${fast_flags}'")
endif()
file(GLOB_RECURSE compiled "${WORK}/fast/*.o")
if(compiled)
  message(FATAL_ERROR "the digest alone should compile nothing: ${compiled}")
endif()

# A source that decides bits.
file(STRINGS "${BUILD}/proof/numerics_sources.txt" files)
foreach(file IN LISTS files)
  cmake_path(GET file PARENT_PATH folder)
  file(COPY "${SOURCE}/${file}" DESTINATION "${WORK}/copy/${folder}")
endforeach()
function(digest_of_copy result)
  # Commands of the build name the sources themselves; the copy has a command for one of its own.
  file(WRITE "${WORK}/commands.json" "[\n{\n  \"directory\": \"x\",\n  \"command\": \"/usr/bin/c++ -O3 -c x\",\n  \"file\": \"${WORK}/copy/trainer/engine.cpp\"\n}\n]\n")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" "-DROOT=${WORK}/copy" "-DLIST=${BUILD}/proof/numerics_sources.txt" "-DCOMMANDS=${WORK}/commands.json"
      "-DOUTPUT=${WORK}/copy.cpp" -P "${SOURCE}/proof/numerics_digest.cmake"
    COMMAND_ERROR_IS_FATAL ANY)
  told_of("${WORK}/copy.cpp" copy_digest copy_flags)
  if(NOT copy_flags STREQUAL "-O3")
    message(FATAL_ERROR "the copy's flags are '${copy_flags}'")
  endif()
  set(${result} "${copy_digest}" PARENT_SCOPE)
endfunction()
digest_of_copy(unchanged)
if(NOT unchanged STREQUAL digest)
  message(FATAL_ERROR "a copy of the sources has the digest ${unchanged}, the build ${digest}")
endif()
foreach(file trainer/engine.cpp trainer/step_record.cpp proof/genesis.cpp proof/state_root.cpp data/loader.cpp
    parallel/sharded_optimizer.cpp parallel/grains.cpp kernels/cpu/optimizer.cpp model/parameters.cpp core/float_environment.cpp)
  file(READ "${WORK}/copy/${file}" before)
  file(APPEND "${WORK}/copy/${file}" "\n")
  digest_of_copy(changed)
  if(changed STREQUAL digest)
    message(FATAL_ERROR "a change of ${file} changes no digest")
  endif()
  file(WRITE "${WORK}/copy/${file}" "${before}")
endforeach()
message(STATUS "digest ${digest}, flags ${flags}")
