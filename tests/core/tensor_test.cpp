#include "core/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

namespace baekji {
namespace {

class TensorViews : public ::testing::Test {
 protected:
  TensorViews() : values_(24) { std::iota(values_.begin(), values_.end(), 0.0F); }
  std::vector<float> values_;
  Tensor t_{values_.data(), DType::kFloat32, {4, 6}};
};

TEST_F(TensorViews, RowsColumnsAndSplits) {
  EXPECT_EQ(t_.rows(1, 2).as<float>()[0], 6.0F);
  EXPECT_EQ(t_.rows(1, 2).dim(0), 2);
  const Tensor right = t_.columns(2, 4);
  EXPECT_EQ(right.as<float>()[0], 2.0F);
  EXPECT_EQ(right.stride(0), 6);
  EXPECT_FALSE(right.contiguous());
  const Tensor heads = right.split_last(2);  // [4, 2, 2]
  EXPECT_EQ(heads.rank(), 3);
  EXPECT_EQ(heads.as<float>()[3 * heads.stride(0) + 1 * heads.stride(1) + 1], 23.0F);
  const Tensor blocks = right.split_first(2);  // [2, 2, 4]
  EXPECT_EQ(blocks.as<float>()[1 * blocks.stride(0) + 1 * blocks.stride(1)], 20.0F);
  EXPECT_EQ(t_.view({2, 12}).stride(0), 12);
  EXPECT_EQ(t_.describe(), "fp32[4, 6]");
  EXPECT_TRUE(t_.rows(2, 1).columns(1, 3).contiguous()) << "one row is dense whatever its stride";
}

TEST_F(TensorViews, RefusesWhatCannotBe) {
  EXPECT_THROW((void)t_.as<Bfloat16>(), Error);
  EXPECT_THROW((void)t_.rows(3, 2), Error);
  EXPECT_THROW((void)t_.columns(-1, 2), Error);
  EXPECT_THROW((void)t_.view({5, 5}), Error);
  EXPECT_THROW((void)t_.columns(0, 4).view({16}), Error) << "a strided view has no other shape";
  EXPECT_THROW((void)t_.split_last(4), Error);
  EXPECT_THROW((void)t_.split_first(3), Error);
  EXPECT_FALSE(Tensor().defined());
}

TEST(Types, Bfloat16RoundsToNearestEven) {
  EXPECT_EQ(Bfloat16(1.0F).bits, 0x3F80);
  EXPECT_EQ(Bfloat16(1.0F + 0x1p-8F).bits, 0x3F80) << "tie to even, down";
  EXPECT_EQ(Bfloat16(1.0F + 0x3p-8F).bits, 0x3F82) << "tie to even, up";
  EXPECT_EQ(Bfloat16(1.0F + 0x1.01p-8F).bits, 0x3F81);
  EXPECT_EQ(Bfloat16(-0.0F).bits, 0x8000);
  EXPECT_EQ(Bfloat16(3.4e38F).bits, 0x7F80) << "overflow to infinity";
  EXPECT_EQ(Bfloat16(0x1p-133F).bits, 0x0001) << "subnormals stay";
  EXPECT_TRUE(std::isnan(static_cast<float>(Bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(static_cast<float>(Bfloat16(std::bit_cast<float>(0x7F800001U)))))
      << "a NaN that only low bits mark";
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    Bfloat16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    const float wide = static_cast<float>(value);
    if (!std::isnan(wide)) {
      ASSERT_EQ(Bfloat16(wide).bits, bits) << "widening and rounding is the identity";
    }
  }
}

TEST(Types, NarrowThrowsInsteadOfChanging) {
  EXPECT_EQ(narrow<std::int32_t>(std::int64_t{-5}), -5);
  EXPECT_THROW((void)narrow<std::int32_t>(std::int64_t{1} << 31), Error);
  EXPECT_THROW((void)narrow<std::uint32_t>(-1), Error);
  EXPECT_THROW((void)narrow<std::int8_t>(200), Error);
}

}  // namespace
}  // namespace baekji
