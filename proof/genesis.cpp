#include "proof/genesis.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/state_values.h"

namespace baekji {
namespace {

// One run of the parallel pass: elements [begin, end) of a shard, never more than a chunk.
struct Piece {
  const StateShard* shard = nullptr;
  const RandomStream* stream = nullptr;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// float(z * value): the product is rounded to fp64, then once to fp32.
float normal_value(const RandomStream& stream, double deviation, std::int64_t logical_index) {
  return static_cast<float>(stream.normal(static_cast<std::uint64_t>(logical_index)) * deviation);
}

void fill_master(const Piece& piece, float* out) {
  const StateShard& shard = *piece.shard;
  const LogicalTensor& tensor = *shard.tensor;
  const std::int64_t columns = tensor.slice_columns();
  const double value = shard.initialisation.value;
  // By rows of the slice: inside one, logical indices are consecutive.
  for (std::int64_t i = piece.begin; i < piece.end;) {
    const std::int64_t row_end = std::min(piece.end, (i / columns + 1) * columns);
    const std::int64_t logical = tensor.logical_index(shard.slice, i);
    float* const row = out + (i - piece.begin);
    const std::int64_t count = row_end - i;
    if (logical < 0) {
      std::fill_n(row, count, 0.0F);
    } else if (shard.initialisation.kind == Initialisation::Kind::kConstant) {
      std::fill_n(row, count, static_cast<float>(value));
    } else {
      for (std::int64_t k = 0; k < count; ++k) row[k] = normal_value(*piece.stream, value, logical + k);
    }
    i = row_end;
  }
}

void fill_piece(const Piece& piece) {
  const StateShard& shard = *piece.shard;
  std::vector<float> buffer;
  for (const StateKind kind : kStateKinds) {
    if (shard.values[static_cast<std::size_t>(kind)] == nullptr) continue;
    const StateRange range{
        .shard = shard, .kind = kind, .begin = piece.begin - shard.begin, .count = piece.end - piece.begin};
    const std::span<float> values = values_to_write(range, buffer);
    if (kind == StateKind::kMaster)
      fill_master(piece, values.data());
    else
      std::fill(values.begin(), values.end(), 0.0F);
    write_back(range, buffer);
  }
}

}  // namespace

void fill_genesis(const StateShard& shard, std::uint64_t seed, ThreadPool& pool) {
  fill_genesis(std::span(&shard, 1), seed, pool);
}

void fill_genesis(std::span<const StateShard> shards, std::uint64_t seed, ThreadPool& pool) {
  std::vector<RandomStream> streams;
  streams.reserve(shards.size());
  std::vector<Piece> pieces;
  for (const StateShard& shard : shards) {
    streams.emplace_back(kGenesisDomain, seed, shard.tensor->name);
    const std::int64_t end = shard.begin + shard.count;
    for (std::int64_t begin = shard.begin; begin < end; begin += kChunkElements) {
      pieces.push_back({&shard, &streams.back(), begin, std::min(end, begin + kChunkElements)});
    }
  }
  pool.run(static_cast<std::int64_t>(pieces.size()),
           [&](std::int64_t i) { fill_piece(pieces[static_cast<std::size_t>(i)]); });
}

float genesis_value(const LogicalTensor& tensor, const Initialisation& initialisation, std::uint64_t seed,
                    std::int64_t logical_index) {
  if (logical_index < 0 || logical_index >= tensor.elements()) {
    throw Error("no such element in the tensor")
        .values(fmt::format("0..{}", tensor.elements() - 1), fmt::format("{}", logical_index))
        .at(tensor.name);
  }
  if (initialisation.kind == Initialisation::Kind::kConstant) return static_cast<float>(initialisation.value);
  return normal_value(RandomStream(kGenesisDomain, seed, tensor.name), initialisation.value, logical_index);
}

}  // namespace baekji
