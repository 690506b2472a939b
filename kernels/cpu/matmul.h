#pragma once
// Matrix products on the CPU: own register tiles over packed panels (matmul_tile.h has the order of summation).

#include <cstdint>
#include <map>
#include <string>

#include "core/thread_pool.h"
#include "kernels/cpu/matmul_pack.h"
#include "kernels/cpu/matmul_scratch.h"
#include "kernels/kernels.h"

namespace baekji {

/// How one matmul is cut into tasks. It decides speed only, never bits.
struct MatmulPlan {
  std::int64_t rows = 0;     ///< of c in a task
  std::int64_t columns = 0;  ///< of c in a task, a multiple of the tile's
  std::int64_t row_tasks = 0;
  std::int64_t column_tasks = 0;
  std::int64_t block_steps = 0;  ///< of the inner dim between two visits of a partial tile
};

struct MatmulProblem {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t steps = 0;        ///< of the inner dim: 1 fp32 or 2 bf16 elements each
  bool packs_rows = false;       ///< tasks pack their part of a: with transposed_rows, or with packs_columns
  bool transposed_rows = false;  ///< a is transposed
  bool copies_rows = false;      ///< tasks copy their part of a, whose rows alias in the cache
  bool packs_columns = false;    ///< b has no packed copy, so that tasks pack it
  bool amx = false;              ///< AMX tiles (amx_tile.h)
};

MatmulPlan plan_matmul(const MatmulProblem& problem, int threads);

/// Matmuls over a thread pool. a and b are both fp32 (c fp32), both bf16 (c bf16 or fp32) or both of 8 bits (the same);
/// accumulation needs an fp32 c. Rows may be strided, the last dim is dense.
///
/// Every element of c is the left fold, from +0, of fused multiply-adds over the inner index in ascending order; bf16
/// is taken in pairs, the odd index of a pair first, subnormals as zero (the VDPBF16PS instruction), or on processors
/// with AMX in blocks of 32 (amx_tile.h). Then one addition when accumulating, and one rounding into c. So the bits
/// depend on no tiling, no thread count and no other row or column. 8-bit values are widened as tasks pack them: the
/// fold is that of fp32, and is multiplied by the scales before the addition or the rounding.
///
/// Not thread-safe: one caller at a time. Weights (b_is_weight) keep a packed copy for each (address, shape, stride,
/// transpose, type), made on first use and made again, in place, on the first use after weights_changed(). The memory
/// behind such an address must not be given to something else without that call.
class CpuMatmul {
 public:
  /// `pool` must outlive this.
  explicit CpuMatmul(ThreadPool& pool);

  /// Throws Error on shapes or types that do not go together; c is then untouched.
  void run(const MatmulArgs& args);
  void weights_changed() { ++version_; }

  /// What decides bits here, for the kernel set. fp32 is the same on every machine; bf16 is the same on all with AMX,
  /// and on all without (see dot_pairs_portable).
  std::string describe() const;

  /// Bytes of all packed weights so far, and of the threads' working memory.
  std::int64_t packed_bytes() const;
  std::int64_t scratch_bytes() const { return scratch_.size_bytes(); }
  /// The bytes that a weight of this shape takes packed, for planning; it is the same for both uses of it.
  static std::int64_t packed_bytes_of(DType type, std::int64_t inner, std::int64_t columns);

 private:
  struct WeightKey {
    const void* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::int64_t row_elements = 0;
    bool transpose = false;
    DType type = DType::kFloat32;
    auto operator<=>(const WeightKey&) const = default;
  };
  struct PackedWeight {
    cpu::AlignedBuffer panels;
    std::uint64_t version = 0;
  };
  struct Run;
  template <class Element, class Output>
  struct Task;

  const std::byte* packed_weight(const Run& run);
  template <class Element, class Output>
  void dispatch(const Run& run);

  ThreadPool& pool_;
  cpu::TaskScratch scratch_;
  std::map<WeightKey, PackedWeight> weights_;
  std::uint64_t version_ = 1;
};

}  // namespace baekji
