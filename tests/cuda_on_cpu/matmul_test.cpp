// CudaMatmul over the stand-in for cuBLASLt: which algorithm it takes, what it refuses, products of 8 bits.

#include "kernels/cuda/matmul.h"

#include <cublasLt.h>
#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <memory>

#include "kernels/cuda/ceiling.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/test_tensors.h"
#include "tests/kernels/tolerance.h"

namespace baekji {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr Device kCuda{.kind = DeviceKind::kCuda};
constexpr DType kE4 = DType::kFloat8E4M3, kE5 = DType::kFloat8E5M2;

/// A host tensor's memory on the device, as far off a multiple of 16 bytes as it is here.
class Copy {
 public:
  explicit Copy(const Tensor& here) : here_(here) {
    if (!here.defined()) return;
    std::int64_t elements = 1;
    for (int d = 0; d < here.rank(); ++d) elements += (here.dim(d) - 1) * here.stride(d);
    size_bytes_ = std::max<std::int64_t>(elements, 0) * size_of(here.type());
    memory_ = allocate_memory(kCuda, size_bytes_ + 16);
    at_ = static_cast<std::byte*>(memory_) + std::bit_cast<std::uintptr_t>(here.data()) % 16;
    copy_memory({.data = at_, .device = kCuda}, {.data = here.data()}, size_bytes_);
  }
  ~Copy() {
    if (memory_ != nullptr) free_memory(kCuda, memory_, size_bytes_ + 16);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  Tensor tensor() const { return memory_ == nullptr ? Tensor() : here_.relocated(at_, kCuda); }
  void bring_back() const { copy_memory({.data = here_.data()}, {.data = at_, .device = kCuda}, size_bytes_); }

 private:
  Tensor here_;
  std::int64_t size_bytes_ = 0;
  void* memory_ = nullptr;
  std::byte* at_ = nullptr;
};

class StandInMatmul : public ::testing::Test {
 protected:
  StandInMatmul() { use_table(""); }
  ~StandInMatmul() override { cuda_on_cpu::propose(cuda_on_cpu::Proposals::kAll); }

  void use_table(const std::string& table) { matmul_ = std::make_unique<cuda::CudaMatmul>(queue_, table); }

  template <class Call>
  auto on_device(const MatmulArgs& args, const Call& call) {
    const Copy a(args.a), b(args.b), c(args.c), scale_a(args.scale_a), scale_b(args.scale_b);
    MatmulArgs there = args;
    there.a = a.tensor();
    there.b = b.tensor();
    there.c = c.tensor();
    there.scale_a = scale_a.tensor();
    there.scale_b = scale_b.tensor();
    auto result = call(there);
    c.bring_back();
    return result;
  }
  void run(const MatmulArgs& args) {
    on_device(args, [&](const MatmulArgs& there) {
      matmul_->run(there);
      return true;
    });
  }
  std::string failure(const MatmulArgs& args) {
    try {
      run(args);
    } catch (const Error& error) {
      return error.what();
    }
    return "no failure";
  }
  std::vector<cuda::CudaMatmul::TimedAlgorithm> times(const MatmulArgs& args) {
    return on_device(args, [&](const MatmulArgs& there) { return matmul_->time_algorithms(there, 2); });
  }

  Tensor filled(DType type, std::int64_t rows, std::int64_t columns, const std::string& name, std::int64_t gap = 0) {
    return memory_.filled(memory_.matrix(type, rows, columns, gap), name);
  }
  Tensor scale(float value) {
    const Tensor t = memory_.vector(DType::kFloat32, 1);
    t.as<float>()[0] = value;
    return t;
  }
  /// [M, Inner] x [N, Inner].
  MatmulArgs product(DType a, DType b, DType c, std::int64_t m, std::int64_t n, std::int64_t inner,
                     std::int64_t gap = 0) {
    MatmulArgs args{.a = filled(a, m, inner, "a", gap),
                    .b = filled(b, n, inner, "b", gap),
                    .c = filled(c, m, n, "c", gap),
                    .transpose_b = true};
    if (size_of(a) == 1) {
      args.scale_a = scale(0.25F);
      args.scale_b = scale(8);
    }
    return args;
  }
  Tensor same(const Tensor& t, const std::string& name) { return filled(t.type(), t.dim(0), t.dim(1), name); }

  TestTensors memory_;
  cuda::Queue queue_{kCuda};
  std::unique_ptr<cuda::CudaMatmul> matmul_;
};

TEST_F(StandInMatmul, TakesTheFirstProposalThatKeepsTheContract) {
  MatmulArgs args = product(kF, kF, kF, 20, 30, 100);
  run(args);
  EXPECT_THAT(
      matmul_->algorithms(),
      StartsWith("cublasLt 130100, sm_90, 4 multiprocessors | 20x30x100 fp32/100 x fp32/100' -> fp32/30 @16,16,8 "
                 "| id 66 tile 20 stages 36 inner 0 cluster 3 swizzle 0 custom 5 split 1 reduction 0 workspace 0 "
                 "| "));
  MatmulArgs want = args;
  want.c = same(args.c, "c");
  reference::matmul<float>(want);
  expect_same_bits(args.c, want.c, "one fold over the whole inner dim");
  EXPECT_EQ(matmul_->scratch_bytes(), std::int64_t{32} << 20);
}

TEST_F(StandInMatmul, TakesOneWithAWorkspaceWhenThereIsNoOther) {
  cuda_on_cpu::propose(cuda_on_cpu::Proposals::kOnlyWithWorkspace);
  run(product(kB, kB, kB, 20, 30, 100));
  EXPECT_THAT(matmul_->algorithms(), AllOf(HasSubstr("| id 60 "), HasSubstr("workspace 4096")));
}

TEST_F(StandInMatmul, SaysWhyNoAlgorithmWillDo) {
  cuda_on_cpu::propose(cuda_on_cpu::Proposals::kOnlyRefused);
  EXPECT_THAT(failure(product(kB, kB, kF, 20, 30, 100)),
              AllOf(HasSubstr("keeps the numerics contract"), HasSubstr("4 proposals"),
                    HasSubstr("id 100: divides the inner dim by 4"), HasSubstr("id 101: reduction scheme 2"),
                    HasSubstr("id 102: accumulators are not fp32"), HasSubstr("id 103: rounds its inputs"),
                    HasSubstr("20x30x100 bf16/100 x bf16/100' -> fp32/30")));
}

// The choice was made at the first call, whatever the library would say now.
TEST_F(StandInMatmul, KeepsTheAlgorithmOfAProblem) {
  const MatmulArgs args = product(kB, kB, kF, 20, 30, 100);
  run(args);
  const std::string first = matmul_->algorithms();
  cuda_on_cpu::propose(cuda_on_cpu::Proposals::kOnlyRefused);
  run(args);
  EXPECT_EQ(matmul_->algorithms(), first);
}

TEST_F(StandInMatmul, TheTableComesFirst) {
  const MatmulArgs args = product(kB, kB, kF, 20, 30, 100);
  const auto timed = times(args);
  ASSERT_EQ(timed.size(), 3U);  // 60, 66 and 67
  EXPECT_THAT(timed[2].line, HasSubstr("| id 67 "));
  EXPECT_GT(timed[2].microseconds, 0);
  const std::string before = matmul_->describe();
  EXPECT_THAT(before, AllOf(HasSubstr("cublasLt 130100, rule "), HasSubstr("table of 0 algorithms e3b0c44298fc")));
  use_table("# measured\n" + timed[2].line + "\n\n");
  EXPECT_THAT(matmul_->describe(), HasSubstr("table of 1 algorithms"));
  EXPECT_NE(matmul_->describe().substr(before.size() - 12), before.substr(before.size() - 12));
  run(args);
  EXPECT_EQ(matmul_->algorithms(), timed[2].line + "\n");
  // What it lists is a table again, and a comment does not make it another one.
  const std::string described = matmul_->describe();
  use_table(matmul_->algorithms() + "# the same\n");
  EXPECT_EQ(matmul_->describe(), described);
  // Another device's line has no effect.
  std::string elsewhere = timed[2].line;
  elsewhere.replace(elsewhere.find("sm_90"), 5, "sm_80");
  use_table(elsewhere);
  run(args);
  EXPECT_THAT(matmul_->algorithms(), HasSubstr("| id 66 "));
}

TEST_F(StandInMatmul, RefusesABadTable) {
  const MatmulArgs args = product(kB, kB, kF, 20, 30, 100);
  const std::string line = times(args)[1].line;
  const auto table_error = [&](const std::string& table) -> std::string {
    try {
      use_table(table);
    } catch (const Error& error) {
      return error.what();
    }
    return failure(args);
  };
  EXPECT_THAT(table_error("# x\nnonsense\n"), AllOf(HasSubstr("not a line"), HasSubstr("line 2")));
  EXPECT_THAT(table_error(line.substr(0, line.size() - 2)), HasSubstr("128 hexadecimal digits"));
  EXPECT_THAT(table_error(line + "\n" + line + "\n"), AllOf(HasSubstr("two lines"), HasSubstr("line 2")));
  std::string edited = line;
  edited.replace(edited.find("tile 20"), 7, "tile 21");
  EXPECT_THAT(table_error(edited), HasSubstr("contradicts itself"));
  // Another problem's algorithm, and one that divides the inner dim.
  const std::string other = times(product(kB, kB, kF, 20, 30, 99))[1].line;
  EXPECT_THAT(table_error(line.substr(0, line.rfind(" | ")) + other.substr(other.rfind(" | "))),
              AllOf(HasSubstr("cublasLtMatmulAlgoCheck"), HasSubstr("20x30x100")));
}

TEST_F(StandInMatmul, RowRangesOfASliceAreOneProblem) {
  const Tensor a = filled(kB, 60, 33, "a", 4);  // rows of 74 bytes
  const Tensor b = filled(kB, 33, 24, "b");
  const Tensor c = filled(kF, 60, 24, "c", 1);
  for (const std::int64_t row : {0, 7, 20}) run({.a = a.rows(row, 13), .b = b, .c = c.rows(row, 13)});
  const std::string all = matmul_->algorithms();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 1) << all;
  EXPECT_THAT(all, HasSubstr("13x24x33 bf16/37 x bf16/24 -> fp32/25 @2,16,4 "));
}

TEST_F(StandInMatmul, ColumnRangesMayBeginAnywhere) {
  for (const DType type : {kF, kB}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        MatmulArgs args{.transpose_a = transpose_a, .transpose_b = transpose_b, .accumulate = true};
        args.a = (transpose_a ? filled(type, 50, 40, "a") : filled(type, 40, 50, "a"));
        args.b = (transpose_b ? filled(type, 30, 50, "b") : filled(type, 50, 30, "b"));
        args.c = filled(kF, 40, 30, "c");
        MatmulArgs want = args;
        want.c = same(args.c, "c");
        reference::matmul<float>(want);
        for (const auto& [row, rows] : {std::pair{0, 1}, {1, 16}, {17, 23}}) {
          for (const auto& [column, columns] : {std::pair{0, 7}, {7, 23}}) {
            MatmulArgs part = args;
            part.a = transpose_a ? args.a.columns(row, rows) : args.a.rows(row, rows);
            part.b = transpose_b ? args.b.rows(column, columns) : args.b.columns(column, columns);
            part.c = args.c.rows(row, rows).columns(column, columns);
            run(part);
          }
        }
        expect_same_bits(args.c, want.c, fmt::format("{} {} {}", name_of(type), transpose_a, transpose_b));
      }
    }
  }
}

/// scale_a * scale_b * a b' (+ c) in fp64, against which fp32 sums are measured.
void expect_near_exact(const MatmulArgs& args, const Tensor& before) {
  const std::vector<double> a = values_of(args.a);
  const std::vector<double> b = values_of(args.b);
  const std::vector<double> got = values_of(args.c);
  const std::vector<double> old = values_of(before);
  const auto inner = static_cast<std::size_t>(args.a.dim(1));
  const auto columns = static_cast<std::size_t>(args.c.dim(1));
  const double scale =
      static_cast<double>(args.scale_a.as<float>()[0]) * static_cast<double>(args.scale_b.as<float>()[0]);
  double largest = 0;
  double error = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    double want = 0;
    for (std::size_t k = 0; k < inner; ++k) want += a[i / columns * inner + k] * b[i % columns * inner + k];
    want = scale * want + (args.accumulate ? old[i] : 0);
    largest = std::max(largest, std::fabs(want));
    error = std::max(error, std::fabs(got[i] - want));
  }
  EXPECT_GT(largest, 1);
  EXPECT_LE(error, largest * tolerance_of("matmul", args.c.type())) << args.a.describe() << args.b.describe();
}

TEST_F(StandInMatmul, ProductsOfEightBitsAreNearTheExactOnes) {
  int problems = 0;
  for (const auto& [a, b] : {std::pair{kE4, kE4}, {kE5, kE4}, {kE4, kE5}}) {
    for (const DType c : {kF, kB}) {
      for (const bool accumulate : {false, true}) {
        if (accumulate && c == kB) continue;
        for (const std::int64_t gap : {0, 16}) {
          MatmulArgs args = product(a, b, c, 24, 40, 96, gap);
          args.accumulate = accumulate;
          const Tensor before = same(args.c, "c");
          run(args);
          expect_near_exact(args, before);
          ++problems;
        }
      }
    }
  }
  const std::string all = matmul_->algorithms();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), problems);
}

TEST_F(StandInMatmul, ScalesBelongToTheCall) {
  MatmulArgs args = product(kE4, kE4, kF, 16, 16, 32);
  run(args);
  const std::vector<double> first = values_of(args.c);
  args.scale_a = scale(1);
  run(args);
  const std::vector<double> second = values_of(args.c);
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(second[i], 4 * first[i]);
}

TEST_F(StandInMatmul, RefusesProductsOfEightBitsThatTheDeviceHasNot) {
  EXPECT_THAT(failure(product(kE5, kE5, kF, 16, 16, 32)), HasSubstr("e5m2 x e5m2"));
  EXPECT_THAT(failure(product(kE4, kB, kF, 16, 16, 32)), HasSubstr("e4m3 x bf16"));
  EXPECT_THAT(failure(product(kE4, kE4, kF, 16, 16, 40)), HasSubstr("pieces of 16 bytes"));
  EXPECT_THAT(failure(product(kE4, kE4, kF, 16, 18, 32)), HasSubstr("aligned to 8"));
  MatmulArgs args = product(kE4, kE4, kF, 16, 16, 32);
  args.transpose_b = false;
  args.b = filled(kE4, 32, 16, "b");
  EXPECT_THAT(failure(args), HasSubstr("transpose_b false"));
  args = product(kE4, kE4, kF, 16, 16, 32);
  args.scale_b = {};
  EXPECT_THAT(failure(args), HasSubstr("scale"));
  args = product(kB, kB, kF, 16, 16, 32);
  args.scale_a = scale(1);
  EXPECT_THAT(failure(args), HasSubstr("scale"));
  args = product(kE4, kE4, kB, 16, 16, 32);
  args.accumulate = true;
  EXPECT_THAT(failure(args), HasSubstr("bf16 +="));
}

TEST_F(StandInMatmul, RefusesMemoryOfTheHost) {
  const MatmulArgs args = product(kF, kF, kF, 4, 4, 4);
  EXPECT_THROW(matmul_->run(args), Error);
}

TEST_F(StandInMatmul, CeilingsAreMeasuredOnTheDevice) {
  for (const DType type : {kF, kB, kE4}) {
    const double flops = measure_matmul_ceiling(kCuda, type, 64);
    EXPECT_GT(flops, 0);
    EXPECT_TRUE(std::isfinite(flops));
  }
  EXPECT_THROW(measure_matmul_ceiling(kCuda, DType::kFloat64, 64), Error);
  EXPECT_GT(measure_copy_bandwidth(kCuda, 1 << 20), 0);
}

}  // namespace
}  // namespace baekji
