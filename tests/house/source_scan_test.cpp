// The scanner that the house rules stand on, on snippets that are easy to get wrong.

#include "tests/house/source_scan.h"

#include <gtest/gtest.h>

namespace baekji::house {
namespace {

TEST(SourceScanTest, BlanksCommentsAndLiteralsOnly) {
  EXPECT_EQ(blank_literals("a // new\nb"), "a       \nb");
  EXPECT_EQ(blank_literals("a /* \n{ */ b"), "a    \n     b");
  EXPECT_EQ(blank_literals(R"(f("{ \" new", 'x', '\'') + 1'000'000)"), R"(f("        ", ' ', '  ') + 1'000'000)");
  EXPECT_EQ(blank_literals("R\"x(})\" )x\" {"), "R           {");
  EXPECT_EQ(blank_literals("\"// no comment\" b"), "\"             \" b");
}

TEST(SourceScanTest, CountsWholeWordsWithTheirScope) {
  const std::string code =
      "new int; renew(); news; std::exp(x); my::exp(y); exp(z); p->printf(1); printf (2); snprintf(3)";
  EXPECT_EQ(count_word(code, "new"), 1);
  EXPECT_EQ(count_word(code, "std::exp"), 1);
  EXPECT_EQ(count_word(code, "exp("), 1);
  EXPECT_EQ(count_word(code, "printf"), 1);
}

TEST(SourceScanTest, Includes) {
  const std::vector<Include> all = includes_of("#include <mpi.h>\n  #include \"core/error.h\"\n// #include \"no.h\"\n");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].path, "mpi.h");
  EXPECT_FALSE(all[0].quoted);
  EXPECT_EQ(all[1].path, "core/error.h");
  EXPECT_TRUE(all[1].quoted);
}

TEST(SourceScanTest, FindsFunctionsAndTheirLengths) {
  const std::string code = blank_literals(R"(#define X(a) { a
namespace n {
enum class E : int { kA, kB };
constexpr int kTable[] = {1, 2,
                          3};
template <class T, class U = std::pair<int, int>>
struct S {
  int x{3};
  std::function<int()> f = {};
  S(int a)
      : x{a}, f{[] { return 1; }} {
    x = 2;
  }
  int get() const { return x; }
  void declared(int a = 0) const;
};
static int free_function(
    int a) {
  auto inner = [&](int b) {
    if (b > 0) { return "}"; }
  };
  return a;
}
}
)");
  const std::vector<Function> all = FunctionFinder(code).run();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].first_line, 10);
  EXPECT_EQ(all[0].lines, 4);
  EXPECT_TRUE(all[1].head.starts_with("int get()"));
  EXPECT_EQ(all[1].lines, 1);
  EXPECT_TRUE(all[2].head.starts_with("static int free_function("));
  EXPECT_EQ(all[2].lines, 7);
}

TEST(SourceScanTest, FindsKernels) {
  const std::string code = blank_literals(R"(namespace {
template <class T>
__global__ void __launch_bounds__(256) twice(T* x, std::int64_t count) {
  extern __shared__ float buffer[];
  __shared__ T sums[32];
  x[threadIdx.x] *= 2;
}
__constant__ float kTable[2] = {1, 2};
__device__ inline float half(float x) { return x / 2; }
}
)");
  const std::vector<Function> all = FunctionFinder(code).run();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].first_line, 2);
  EXPECT_EQ(all[0].lines, 6);
  EXPECT_TRUE(all[1].head.starts_with("__device__ inline float half("));
}

TEST(SourceScanTest, FindsPythonFunctions) {
  const std::vector<Function> all =
      python_functions("def f(a,\n      b\n):\n  x\n\n  y\n\nz\nclass C:\n  def g(self):\n    return 1\n");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].lines, 6);
  EXPECT_EQ(all[1].first_line, 10);
  EXPECT_EQ(all[1].lines, 2);
}

}  // namespace
}  // namespace baekji::house
