#pragma once
// A small training state in memory, cut into slices and owners in any way.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/logical_tensor.h"

namespace baekji {

struct TensorDeclaration {
  LogicalTensor tensor;
  Initialisation initialisation;
};

/// Every kind of geometry: rows, columns, padded rows, no split, one dim, several chunks, rows unaligned to chunks.
inline std::vector<TensorDeclaration> sample_tensors(std::int64_t grains) {
  using Kind = Initialisation::Kind;
  const auto padded = round_up(101, grains * 4);
  return {
      {{.name = "embedding", .shape = {101, 24}, .split = Split::kRows, .slices = grains, .padded_rows = padded},
       {Kind::kNormal, 0.02}},
      {{.name = "final_norm", .shape = {24}}, {Kind::kConstant, 1.0}},
      {{.name = "layers.0.attention.q", .shape = {48, 24}, .split = Split::kRows, .slices = grains},
       {Kind::kNormal, 0.02}},
      {{.name = "layers.0.attention.output", .shape = {24, 48}, .split = Split::kColumns, .slices = grains},
       {Kind::kNormal, 0.007}},
      {{.name = "layers.0.wide", .shape = {24, 12300}, .split = Split::kColumns, .slices = grains},
       {Kind::kConstant, 0.1}},
      {{.name = "layers.0.tall", .shape = {700, 300}}, {Kind::kConstant, -0.3}},
  };
}

/// Owns the values of a whole state as `owners` StateShards per slice (whole chunks; fewer where a slice is small).
class SampleState {
 public:
  SampleState(std::vector<TensorDeclaration> declarations, std::int64_t owners)
      : declarations_(declarations.begin(), declarations.end()) {
    for (const TensorDeclaration& d : declarations_) {
      const std::int64_t chunks = d.tensor.chunks_per_slice();
      for (std::int64_t slice = 0; slice < d.tensor.slices; ++slice) {
        for (std::int64_t owner = 0; owner < owners; ++owner) {
          const std::int64_t begin = chunks * owner / owners * kChunkElements;
          const std::int64_t end = std::min(chunks * (owner + 1) / owners * kChunkElements, d.tensor.slice_elements());
          if (end > begin) add(d, slice, begin, end - begin, owner);
        }
      }
    }
  }

  const std::vector<StateShard>& shards() const { return shards_; }
  std::vector<StateShard> shards_of(std::int64_t owner) const {
    std::vector<StateShard> own;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      if (owners_[i] == owner) own.push_back(shards_[i]);
    }
    return own;
  }
  const std::deque<TensorDeclaration>& declarations() const { return declarations_; }

  /// Values that differ everywhere and depend only on logical place, kind and `salt`; padding stays zero.
  void fill(std::int64_t salt) {
    for (const StateShard& s : shards_) {
      for (std::size_t kind = 0; kind < 3; ++kind) {
        for (std::int64_t i = 0; i < s.count; ++i) {
          const std::int64_t logical = s.tensor->logical_index(s.slice, s.begin + i);
          s.values[kind][i] = logical < 0 ? 0.0F : value_at(logical, kind, salt);
        }
      }
    }
  }
  static float value_at(std::int64_t logical, std::size_t kind, std::int64_t salt) {
    return static_cast<float>(logical % 99991) * 0.25F + static_cast<float>(kind) * 1e6F +
           static_cast<float>(salt) * 3.0F;
  }

  /// One array of a logical tensor, whole and unpadded.
  std::vector<float> logical(const std::string& name, StateKind kind) const {
    std::vector<float> out;
    for (const StateShard& s : shards_) {
      if (s.tensor->name != name) continue;
      out.resize(static_cast<std::size_t>(s.tensor->elements()));
      for (std::int64_t i = 0; i < s.count; ++i) {
        const std::int64_t logical = s.tensor->logical_index(s.slice, s.begin + i);
        if (logical >= 0) out[static_cast<std::size_t>(logical)] = s.values[static_cast<std::size_t>(kind)][i];
      }
    }
    return out;
  }

 private:
  void add(const TensorDeclaration& d, std::int64_t slice, std::int64_t begin, std::int64_t count, std::int64_t owner) {
    StateShard shard{
        .tensor = &d.tensor, .initialisation = d.initialisation, .slice = slice, .begin = begin, .count = count};
    for (float*& values : shard.values) values = storage_.emplace_back(static_cast<std::size_t>(count), -7.0F).data();
    shards_.push_back(shard);
    owners_.push_back(owner);
  }

  std::deque<TensorDeclaration> declarations_;
  std::deque<std::vector<float>> storage_;
  std::vector<StateShard> shards_;
  std::vector<std::int64_t> owners_;
};

}  // namespace baekji
