#pragma once
// Genesis: step 0 of a run, regenerated element by element from the seed. The bytes are fixed by
// docs/formats/genesis.md.

#include <cstdint>
#include <span>
#include <string_view>

#include "core/logical_tensor.h"
#include "core/thread_pool.h"

namespace baekji {

/// The version of docs/formats/genesis.md that this code writes; part of the contract.
inline constexpr std::int64_t kGenesisVersion = 1;
/// The domain of the random streams of version 1.
inline constexpr std::string_view kGenesisDomain = "baekji.genesis.v1";

/// Fills the shard with its part of step 0: master weights from `initialisation` (kNormal: one rounding to fp32 of the
/// fp64 product z * value, z the normal number of the element's logical index in the stream of the tensor's name;
/// kConstant: the constant rounded to fp32), padded elements 0, both moments 0. All three arrays are overwritten; an
/// array whose pointer is null is skipped. Does not depend on slices, padding, owners or threads.
void fill_genesis(const StateShard& shard, std::uint64_t seed, ThreadPool& pool);
/// The same for many shards in one parallel pass.
void fill_genesis(std::span<const StateShard> shards, std::uint64_t seed, ThreadPool& pool);

/// The master weight at row-major index `logical_index` of the unpadded logical tensor at step 0. Throws when the index
/// lies outside the tensor.
float genesis_value(const LogicalTensor& tensor, const Initialisation& initialisation, std::uint64_t seed,
                    std::int64_t logical_index);

}  // namespace baekji
