#pragma once
// The tasks of CPU attention: what one thread does at a time, with all its working memory in one scratch block.

#include <cstdint>

#include "kernels/cpu/attention_blocks.h"

namespace baekji::cpu {

/// Some of the (query head, query block) items of one key head of one sequence; item = head in group * blocks + block.
struct AttentionShare {
  std::int64_t sequence = 0;
  std::int64_t kv_head = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

template <class Element>
class AttentionForwardTask {
 public:
  AttentionForwardTask(const AttentionForwardArgs& args, const AttentionShape& shape, std::byte* scratch);
  static std::int64_t scratch_bytes(const AttentionShape& shape);
  void run(const AttentionShare& share);

 private:
  struct Memory {
    Memory(ScratchCursor& cursor, const AttentionShape& shape);
    std::byte* k_panels;  ///< columns are keys
    std::byte* v_panels;  ///< inner is keys
    Element* q_rows;      ///< [kQueries, padded_dim]
    float* scores;        ///< [kQueries, kKeys]
    Element* weights;     ///< [kQueries, kKeys]; the scores themselves in fp32
    float* y_rows;        ///< [kQueries, padded_dim], not yet divided by the sums
    float* largest;       ///< [kQueries]
    float* sum;           ///< [kQueries]
  };

  void query_block(std::int64_t sequence, std::int64_t head, const QueryBlock& block);
  void key_block(const QueryBlock& block, std::int64_t key);
  void softmax_row(const QueryBlock& block, std::int64_t row, std::int64_t key, QueryBlock::Keys columns);
  void finish(std::int64_t sequence, std::int64_t head, const QueryBlock& block);

  const AttentionForwardArgs& args_;
  const AttentionShape& shape_;
  Memory m_;
  PackedHead<Element> k_;
  PackedHead<Element> v_;
};

/// All of one key head of one sequence.
template <class Element>
class AttentionBackwardTask {
 public:
  AttentionBackwardTask(const AttentionBackwardArgs& args, const AttentionShape& shape, std::byte* scratch);
  static std::int64_t scratch_bytes(const AttentionShape& shape);
  void run(std::int64_t sequence, std::int64_t kv_head);

 private:
  static constexpr bool kPacksTransposed = dtype_of<Element>() == DType::kBfloat16;

  struct Memory {
    Memory(ScratchCursor& cursor, const AttentionShape& shape);
    std::byte* k_columns;  ///< columns are keys
    std::byte* v_columns;  ///< columns are keys
    std::byte* k_inner;    ///< inner is keys
    float* dk_rows;        ///< [keys, padded_dim]
    float* dv_rows;
    Element* q_rows;  ///< [kQueries, padded_dim]
    Element* dy_rows;
    std::byte* q_inner;  ///< inner is queries
    std::byte* dy_inner;
    float* scores;          ///< [kQueries, kKeys]
    float* dweights;        ///< [kQueries, kKeys]: dy v^T
    Element* weights;       ///< [kQueries, kKeys]; the scores' memory in fp32
    Element* dscores;       ///< [kQueries, kKeys]; the memory of dweights in fp32
    std::byte* transposed;  ///< row panels of keys, bf16 only
    float* dq_rows;         ///< [kQueries, padded_dim]
    float* lse;             ///< [kQueries]
    float* delta;           ///< [kQueries]: dy . y
  };

  void query_block(std::int64_t sequence, std::int64_t head, const QueryBlock& block);
  void load_queries(std::int64_t sequence, std::int64_t head, const QueryBlock& block);
  void key_block(const QueryBlock& block, std::int64_t key);
  void weights_of_row(const QueryBlock& block, std::int64_t row, std::int64_t key, QueryBlock::Keys columns);
  void add_to_keys(const QueryBlock& block, std::int64_t key, const Element* from, const PackedHead<Element>& rows,
                   float* out);

  const AttentionBackwardArgs& args_;
  const AttentionShape& shape_;
  Memory m_;
  PackedHead<Element> k_columns_;
  PackedHead<Element> v_columns_;
  PackedHead<Element> k_inner_;
  PackedHead<Element> q_inner_;
  PackedHead<Element> dy_inner_;
};

/// The columns [begin, end) of key block `key` that rows of a query block see, relative to the block and widened to
/// a multiple of kKeyAlignment at the front; empty when they see none.
inline QueryBlock::Keys visible_columns(QueryBlock::Keys visible, std::int64_t key, std::int64_t keys) {
  const std::int64_t begin = std::max(visible.begin, key) - key;
  const std::int64_t end = std::min({visible.end, key + kKeys, keys}) - key;
  if (begin >= end) return {};
  return {.begin = begin / kKeyAlignment * kKeyAlignment, .end = end};
}

/// `x` where lanes (keys key + c ...) lie in [first, end), `otherwise` elsewhere.
[[gnu::always_inline]] inline F32 where_visible(F32 x, F32 otherwise, std::int64_t key, std::int64_t first,
                                                std::int64_t end) {
  I32 lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  lane += static_cast<std::int32_t>(key);
  const I32 visible = (lane >= static_cast<std::int32_t>(first)) & (lane < static_cast<std::int32_t>(end));
  return visible ? x : otherwise;
}

}  // namespace baekji::cpu
