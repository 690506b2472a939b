#pragma once
// Causal attention on the CPU, in blocks (Dao et al. 2022, "FlashAttention"): no T x T matrix exists, memory is planned
// by block sizes and one head's keys, and blocks that no query of theirs may see are skipped.

#include <cstdint>

#include "core/thread_pool.h"
#include "kernels/cpu/matmul_scratch.h"
#include "kernels/kernels.h"

namespace baekji {

/// Attention over a thread pool, for fp32 and bf16 tensors (all of one type; lse fp32). head_dim is any; the D elements
/// of a head are dense, the other strides free, so q, k and v may be column ranges of one fused buffer.
///
/// Order of summation: scores are folds over d (matmul_tile.h; amx_tile.h). Softmax goes over key blocks of kKeyBlock
/// keys, anchored at key 0, with a running maximum; sums of exponentials run in 16 lanes inside a block. y and dq fold
/// over keys in ascending order; dk and dv over the query heads of a group in index order and inside a head over
/// queries in ascending order. So a row's bits depend on that row, its keys and their positions: not on threads, nor on
/// other rows or sequences; the last query of a prefix decodes to the bits it has in training. In bf16 the
/// probabilities and the gradients of scores are rounded to bf16 before they are multiplied; all sums are fp32.
///
/// Not thread-safe: one caller at a time. Working memory grows to the largest (keys, head_dim) seen and then stays.
class CpuAttention {
 public:
  static constexpr std::int64_t kQueryBlock = 128;
  static constexpr std::int64_t kKeyBlock = 128;

  /// `pool` must outlive this.
  explicit CpuAttention(ThreadPool& pool) : pool_(pool), scratch_(pool.threads()) {}

  /// Both throw Error on shapes or types that do not go together, and on a query that sees no key; outputs are then
  /// untouched.
  void forward(const AttentionForwardArgs& args);
  void backward(const AttentionBackwardArgs& args);

  std::int64_t scratch_bytes() const { return scratch_.size_bytes(); }
  /// The working memory of all threads for this many keys and this head width, for planning.
  static std::int64_t scratch_bytes_of(std::int64_t keys, std::int64_t head_dim, int threads);

 private:
  ThreadPool& pool_;
  cpu::TaskScratch scratch_;
};

}  // namespace baekji
