#include "core/arena.h"

#include <gtest/gtest.h>

namespace baekji {
namespace {

void bind(Arena& arena) {
  arena.allocate("weights", DType::kFloat32, {100, 7});
  arena.allocate("activations", DType::kBfloat16, {3, 5});
  arena.allocate("weights", DType::kInt64, {1});
}

TEST(Arena, MeasuringAndAllocatingAgree) {
  Arena measure(Arena::Mode::kMeasure), allocate(Arena::Mode::kAllocate);
  bind(measure);
  bind(allocate);
  EXPECT_EQ(measure.total_bytes(), allocate.total_bytes());
  ASSERT_EQ(measure.rows().size(), 2U);
  EXPECT_EQ(measure.rows()[0].category, "weights");
  EXPECT_EQ(measure.rows()[0].size_bytes, 2816 + 256);
  EXPECT_EQ(measure.rows()[0].allocations, 2);
  EXPECT_NE(memory_table(allocate).find("activations"), std::string::npos);
}

TEST(Arena, MemoryIsZeroedAlignedAndApart) {
  Arena arena(Arena::Mode::kAllocate);
  const Tensor a = arena.allocate("x", DType::kFloat32, {3});
  const Tensor b = arena.allocate("x", DType::kFloat32, {1 << 20});
  for (const Tensor& t : {a, b}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % Arena::kAlignmentBytes, 0U);
    for (std::int64_t i = 0; i < t.size(); ++i) ASSERT_EQ(t.as<float>()[i], 0.0F);
  }
  for (int i = 0; i < 3; ++i) a.as<float>()[i] = 1;
  EXPECT_EQ(b.as<float>()[0], 0.0F);
}

TEST(Arena, RefusesImpossibleRequests) {
  Arena arena(Arena::Mode::kAllocate);
  EXPECT_THROW(arena.allocate("x", DType::kFloat32, {-1}), Error);
  EXPECT_THROW(arena.allocate("x", DType::kFloat32, {std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  try {
    arena.allocate("gradients", DType::kFloat64, {std::int64_t{1} << 55});
    FAIL() << "the system gave 2^58 bytes";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("gradients"), std::string::npos) << error.what();
  }
}

TEST(Arena, BytesForPeople) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::int64_t{3} << 29), "1.5 GiB");
}

}  // namespace
}  // namespace baekji
