// What the CPU matmul touches, on pages that end where its operands do: tile and masked loads are machine instructions
// that no sanitizer sees.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "kernels/cpu/matmul.h"

namespace baekji {
namespace {

/// A matrix whose last element is the last one before a page that may not be touched.
class GuardedMatrix {
 public:
  GuardedMatrix(DType type, std::int64_t rows, std::int64_t columns) {
    const std::int64_t page = sysconf(_SC_PAGESIZE);
    const std::int64_t size_bytes = rows * columns * size_of(type);
    usable_ = static_cast<std::size_t>(round_up(size_bytes, page));
    void* memory = mmap(nullptr, usable_ + static_cast<std::size_t>(page), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw Error("no memory left for a test");
    pages_ = static_cast<std::byte*>(memory);
    if (mprotect(pages_ + usable_, static_cast<std::size_t>(page), PROT_NONE) != 0) throw Error("mprotect failed");
    std::byte* first = pages_ + usable_ - size_bytes;
    tensor_ = Tensor(first, type, {rows, columns});
    std::fill(first, pages_ + usable_, std::byte{0x3C});  // a small number in fp32 and in bf16
  }
  ~GuardedMatrix() { munmap(pages_, usable_ + static_cast<std::size_t>(sysconf(_SC_PAGESIZE))); }
  GuardedMatrix(const GuardedMatrix&) = delete;
  GuardedMatrix& operator=(const GuardedMatrix&) = delete;
  const Tensor& tensor() const { return tensor_; }

 private:
  std::byte* pages_ = nullptr;
  std::size_t usable_ = 0;
  Tensor tensor_;
};

TEST(MatmulBounds, NothingBeyondTheOperandsIsTouched) {
  ThreadPool pool(2);
  int checked = 0;
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    for (const std::int64_t rows : {1, 15, 33, 48}) {
      for (const std::int64_t columns : {1, 17, 64}) {
        for (const std::int64_t inner : {1, 31, 32, 47, 300}) {
          for (int bits = 0; bits < 8; ++bits) {
            const bool transpose_a = (bits & 1) != 0;
            const bool transpose_b = (bits & 2) != 0;
            const GuardedMatrix a(type, transpose_a ? inner : rows, transpose_a ? rows : inner);
            const GuardedMatrix b(type, transpose_b ? columns : inner, transpose_b ? inner : columns);
            const GuardedMatrix c(type, rows, columns);
            CpuMatmul(pool).run({.a = a.tensor(),
                                 .b = b.tensor(),
                                 .c = c.tensor(),
                                 .transpose_a = transpose_a,
                                 .transpose_b = transpose_b,
                                 .b_is_weight = (bits & 4) != 0});
            ++checked;
          }
        }
      }
    }
  }
  fmt::print("{} products next to pages that may not be touched; bf16 {} AMX tiles\n", checked,
             cpu::amx_ready() ? "in" : "without");
}

}  // namespace
}  // namespace baekji
