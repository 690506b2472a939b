# The sources that decide bits, as patterns below the root of the repository: what proof/numerics_digest.cmake makes the
# kernel set's digest and flags of. docs/formats/contract.md has the same list, and a test holds them together. Whoever
# moves a file changes it here.
set(baekji_numerics_patterns
  # Numbers, their randomness and their hashes
  core/digest.h core/digest.cpp core/float8.h core/float_environment.h core/float_environment.cpp core/functions.h
  core/logical_tensor.h core/random.h core/random.cpp core/state_values.h core/state_values.cpp core/types.h
  # Which tokens a step trains on
  data/batch_order.h data/batch_order.cpp data/loader.h data/loader.cpp data/token_store.h data/token_store.cpp
  # Arithmetic
  kernels/*.h kernels/*.cpp kernels/*.cu kernels/*.cuh kernels/*_table.txt
  model/*.h model/*.cpp
  # Sums over ranks and replicas, the state and its update; neither schedules as text and pictures nor transport
  parallel/chunk_*.h parallel/chunk_*.cpp parallel/grains.h parallel/grains.cpp parallel/numerics.h parallel/numerics.cpp
  parallel/optimizer_config.h parallel/optimizer_config.cpp parallel/parameter_*.h parallel/parameter_*.cpp
  parallel/pipeline.h parallel/pipeline.cpp parallel/rank_groups.h parallel/rank_groups.cpp parallel/reduction.h
  parallel/reduction.cpp parallel/shard_exchange.h parallel/shard_exchange.cpp parallel/sharded_optimizer.h
  parallel/sharded_optimizer.cpp parallel/stage.h
  # Step 0 and the roots
  proof/genesis.h proof/genesis.cpp proof/merkle_tree.h proof/merkle_tree.cpp proof/state_root.h proof/state_root.cpp
  # The engine's folds and what a record says
  trainer/engine.h trainer/engine.cpp trainer/global_root.h trainer/global_root.cpp trainer/layout.h trainer/layout.cpp
  trainer/sequence_leaves.h trainer/sequence_leaves.cpp trainer/step_record.h trainer/step_record.cpp)

# baekji_numerics_sources(VARIABLE): the files, sorted by the bytes of their paths. A pattern that finds none is an error:
# its files have moved.
function(baekji_numerics_sources variable)
  set(found "")
  foreach(pattern IN LISTS baekji_numerics_patterns)
    file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/${pattern}")
    if(NOT files)
      message(FATAL_ERROR "Baekji: no file is called ${pattern} any more; cmake/NumericsSources.cmake lists what decides bits")
    endif()
    list(APPEND found ${files})
  endforeach()
  list(REMOVE_DUPLICATES found)
  list(SORT found COMPARE STRING CASE SENSITIVE)
  set(${variable} "${found}" PARENT_SCOPE)
endfunction()
