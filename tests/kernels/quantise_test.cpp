// Operands of 8 bits: the exact maximum, the power of two that scales, the codes; literal values, properties, and the
// back ends against the reference.

#include <array>
#include <cmath>
#include <limits>

#include "kernels/reference/quantise.h"
#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

constexpr float kInfinite = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
constexpr DType kEightBits[] = {DType::kFloat8E4M3, DType::kFloat8E5M2};

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

TEST(QuantiseScale, IsTheSmallestPowerOfTwoThatKeepsMaxWithin) {
  int checked = 0;
  for (const float largest : {Float8E4M3::largest(), Float8E5M2::largest()}) {
    std::vector<float> values{std::numeric_limits<float>::max(), 0x1p-126F, 0x1p-100F, 1.0F, largest};
    for (std::uint32_t u = 1; u < 0x7F800000U; u += 1000003) values.push_back(std::bit_cast<float>(u));
    for (int e = -126; e < 112; ++e) {  // the edges of each step; the first ones are below the smallest scale
      const float edge = std::ldexp(largest, e);
      values.insert(values.end(), {edge, std::nextafter(edge, 0.0F), std::nextafter(edge, kInfinite)});
    }
    for (const float max : values) {
      const reference::QuantiseScale s = reference::quantise_scale(max, largest);
      int exponent = 0;
      ASSERT_EQ(std::frexp(s.scale, &exponent), 0.5F) << max;
      ASSERT_EQ(s.scale * s.inverse, 1.0F) << max;
      ASSERT_TRUE(std::isnormal(s.scale) && std::isnormal(s.inverse)) << max;
      const double within = static_cast<double>(max) / static_cast<double>(s.scale);
      ASSERT_LE(within, largest) << max;
      ASSERT_TRUE(2 * within > largest || s.scale == 0x1p-126F) << max;
      ++checked;
    }
  }
  std::printf("  %d maxima: the scale is the smallest power of two, and its inverse is exact\n", checked);
}

TEST(QuantiseScale, EdgesOfTheRange) {
  EXPECT_EQ(reference::quantise_scale(0.0F, 448).scale, 1.0F);
  EXPECT_EQ(reference::quantise_scale(448, 448).scale, 1.0F);
  EXPECT_EQ(reference::quantise_scale(std::nextafter(448.0F, 1e9F), 448).scale, 2.0F);
  EXPECT_EQ(reference::quantise_scale(224, 448).scale, 0.5F);
  EXPECT_EQ(reference::quantise_scale(1, 57344).scale, 0x1p-15F);
  EXPECT_EQ(reference::quantise_scale(std::numeric_limits<float>::max(), 448).scale, 0x1p120F);
  EXPECT_EQ(reference::quantise_scale(std::numeric_limits<float>::max(), 57344).scale, 0x1p113F);
  EXPECT_EQ(reference::quantise_scale(0x1p-118F, 448).scale, 0x1p-126F);
  EXPECT_EQ(reference::quantise_scale(0x1p-149F, 448).scale, 0x1p-126F);
  EXPECT_EQ(reference::quantise_scale(0x1p-149F, 448).inverse, 0x1p126F);
  EXPECT_EQ(reference::quantise_scale(kInfinite, 448).scale, kInfinite);
  EXPECT_EQ(bits_of(reference::quantise_scale(-kNotANumber, 448).scale), 0x7FC00000U);
}

/// One call's inputs and outputs.
struct Quantised {
  Tensor max, scale, out, transposed;
};
Quantised quantise(Kernels& kernels, TestTensors& m, const Tensor& in, DType type, std::int64_t gap = 0) {
  const Quantised q{.max = m.filled(m.vector(kF, 1), "max"),
                    .scale = m.filled(m.vector(kF, 1), "scale"),
                    .out = m.filled(m.matrix(type, in.dim(0), in.dim(1), gap), "out"),
                    .transposed = m.filled(m.matrix(type, in.dim(1), in.dim(0), gap), "transposed")};
  kernels.absolute_max({.in = in, .max = q.max});
  kernels.quantise({.in_NC = in, .max = q.max, .out_NC = q.out, .transposed_CN = q.transposed, .scale = q.scale});
  return q;
}

class Quantise : public BackEndCase {
 protected:
  Tensor row(const std::vector<float>& values) {
    const Tensor t = memory_.matrix(kF, 1, static_cast<std::int64_t>(values.size()));
    std::copy(values.begin(), values.end(), t.as<float>());
    return t;
  }
  float maximum(const std::vector<float>& values, float old = 0, bool combine = false) {
    const Tensor max = memory_.vector(kF, 1);
    *max.as<float>() = old;
    kernels_->absolute_max({.in = row(values), .max = max, .combine = combine});
    return *max.as<float>();
  }
};

TEST_P(Quantise, AbsoluteMaxIsExactAndSeesEveryNan) {
  EXPECT_EQ(maximum({1, -3, 2}), 3.0F);
  EXPECT_EQ(maximum({1, -3, 2}, 5), 3.0F) << "overwritten";
  EXPECT_EQ(maximum({1, -3, 2}, 5, true), 5.0F);
  EXPECT_EQ(maximum({1, -8, 2}, 5, true), 8.0F);
  EXPECT_EQ(bits_of(maximum({-0.0F, 0.0F})), 0U);
  EXPECT_EQ(bits_of(maximum({})), 0U);
  EXPECT_EQ(maximum({}, 2, true), 2.0F);
  EXPECT_EQ(maximum({-0x1p-149F, 0}), 0x1p-149F);
  EXPECT_EQ(maximum({1, -kInfinite, 2}), kInfinite);
  for (const std::uint32_t nan : {0x7F800001U, 0xFFC00000U, 0xFFFFFFFFU}) {
    EXPECT_EQ(bits_of(maximum({1, std::bit_cast<float>(nan), kInfinite})), 0x7FC00000U);
    EXPECT_EQ(bits_of(maximum({1}, std::bit_cast<float>(nan), true)), 0x7FC00000U);
  }
  constexpr std::int64_t kRows = 300, kWidth = 70;
  for (const DType type : {kF, kB}) {
    for (const std::int64_t at : {std::int64_t{0}, std::int64_t{64 * kWidth}, kRows * kWidth - 1}) {
      const Tensor in = memory_.filled(memory_.matrix(type, kRows, kWidth, 3), "in");
      const Tensor max = memory_.vector(kF, 1);
      set_element(in, at / kWidth * in.stride(0) + at % kWidth, -7);
      kernels_->absolute_max({.in = in, .max = max});
      EXPECT_EQ(*max.as<float>(), 7.0F) << at << ": neither missed nor taken from between the rows";
      set_element(in, at / kWidth * in.stride(0) + at % kWidth, -std::nan(""));
      kernels_->absolute_max({.in = in, .max = max});
      EXPECT_EQ(bits_of(*max.as<float>()), 0x7FC00000U) << at;
    }
  }
}

TEST_P(Quantise, CodesByHand) {
  // The scale is 2^-8: 1.75 is the last value, 2^-17 the smallest step.
  const Quantised q =
      quantise(*kernels_, memory_, row({1.75F, -1.0F, 0.0F, -0.0F, 0x1p-17F, 0x1p-18F, 1.7F}), DType::kFloat8E4M3);
  EXPECT_EQ(*q.scale.as<float>(), 0x1p-8F);
  const std::array<int, 7> codes{0x7E, 0xF8, 0x00, 0x80, 0x01, 0x00, 0x7E};
  for (std::size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(q.out.as<Float8E4M3>()[i].bits, codes[i]) << i;
  const Quantised wide = quantise(*kernels_, memory_, row({1.0F, 0.3F}), DType::kFloat8E5M2);
  EXPECT_EQ(*wide.scale.as<float>(), 0x1p-15F);
  EXPECT_EQ(wide.out.as<Float8E5M2>()[0].bits, 0x78);
  EXPECT_EQ(wide.out.as<Float8E5M2>()[1].bits, 0x71);  // 0.3125
}

// What comes back is within half a step of the value, and the transposed codes are the same codes.
TEST_P(Quantise, ErrorIsHalfAStep) {
  for (const DType type : kEightBits) {
    for (const double spread : {1e-30, 1.0, 300.0, 1e30}) {
      const Tensor in = memory_.filled(memory_.matrix(kF, 130, 71, 5), "in", spread);
      const Quantised q = quantise(*kernels_, memory_, in, type, 9);
      reference::with_float8(type, "test", [&]<class T>(std::type_identity<T>) {
        const double scale = *q.scale.as<float>();
        // Half of the last place of a value below 2^e is 2^(e - 2 - fraction bits); of subnormals, half the smallest.
        const double relative = type == DType::kFloat8E4M3 ? 0x1p-4 : 0x1p-3;
        const double smallest = type == DType::kFloat8E4M3 ? 0x1p-10 : 0x1p-17;
        for (std::int64_t n = 0; n < in.dim(0); ++n) {
          for (std::int64_t c = 0; c < in.dim(1); ++c) {
            const double value = in.as<float>()[n * in.stride(0) + c];
            const T code = q.out.as<T>()[n * q.out.stride(0) + c];
            const double error = std::fabs(value - scale * static_cast<double>(static_cast<float>(code)));
            ASSERT_LE(error, std::max(relative * std::fabs(value), scale * smallest)) << value;
            ASSERT_EQ(q.transposed.as<T>()[c * q.transposed.stride(0) + n].bits, code.bits);
          }
        }
      });
    }
  }
}

TEST_P(Quantise, MaximaThatAreNotFiniteShow) {
  for (const float bad : {kNotANumber, -kNotANumber, kInfinite, -kInfinite}) {
    const Quantised q = quantise(*kernels_, memory_, row({1.0F, bad, 0.0F}), DType::kFloat8E4M3);
    EXPECT_EQ(bits_of(*q.scale.as<float>()), std::isnan(bad) ? 0x7FC00000U : 0x7F800000U);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(q.out.as<Float8E4M3>()[i].bits, 0x7F) << i;
  }
  // The maximum of another tensor: infinities saturate, a NaN has one code whatever its sign.
  const Tensor in = row({kInfinite, -kInfinite, -kNotANumber, 3.0F}), max = memory_.vector(kF, 1);
  *max.as<float>() = 1;
  const Tensor out = memory_.matrix(DType::kFloat8E5M2, 1, 4), scale = memory_.vector(kF, 1);
  kernels_->quantise({.in_NC = in, .max = max, .out_NC = out, .scale = scale});
  const std::array<int, 4> codes{0x7B, 0xFB, 0x7F, 0x7B};
  for (std::size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(out.as<Float8E5M2>()[i].bits, codes[i]) << i;
}

TEST_P(Quantise, RefusesWrongArguments) {
  const Tensor in = row({1, 2}), one = memory_.vector(kF, 1), out = memory_.matrix(DType::kFloat8E4M3, 1, 2);
  const Tensor scale = memory_.vector(kF, 1);
  EXPECT_THROW(kernels_->quantise({.in_NC = in, .max = one, .scale = scale}), Error) << "no output";
  EXPECT_THROW(kernels_->quantise({.in_NC = in, .max = one, .out_NC = in, .scale = scale}), Error) << "fp32 output";
  EXPECT_THROW(kernels_->quantise({.in_NC = in, .max = one, .transposed_CN = out, .scale = scale}), Error) << "shape";
  EXPECT_THROW(kernels_->quantise({.in_NC = in,
                                   .max = one,
                                   .out_NC = out,
                                   .transposed_CN = memory_.matrix(DType::kFloat8E5M2, 2, 1),
                                   .scale = scale}),
               Error)
      << "two types";
  EXPECT_THROW(kernels_->quantise({.in_NC = in, .max = one, .out_NC = out, .scale = one}), Error) << "max is scale";
  EXPECT_THROW(kernels_->absolute_max({.in = in, .max = memory_.vector(kF, 2)}), Error);
  EXPECT_THROW(kernels_->absolute_max({.in = memory_.matrix(DType::kFloat64, 1, 2), .max = one}), Error);
}

INSTANTIATE_TEST_SUITE_P(BackEnds, Quantise, ::testing::Bool(), BackEndName());

class QuantiseBits : public DeviceCase {};

TEST_F(QuantiseBits, DeviceEqualsReference) {
  constexpr std::array<std::array<std::int64_t, 2>, 7> kShapes{
      {{1, 1}, {3, 5}, {65, 63}, {128, 192}, {1, 1000}, {300, 2}, {0, 16}}};
  for (const auto& [rows, width] : kShapes) {
    for (const DType from : {kF, kB}) {
      for (const DType type : kEightBits) {
        for (const std::int64_t gap : {0, 7, 16}) {
          if (type == DType::kFloat8E5M2 && gap != 7) continue;  // one type shows what alignment does
          expect_reference_bits(
              fmt::format("quantise {} [{}, {}] gap {} to {}", name_of(from), rows, width, gap, name_of(type)),
              [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
                const Tensor in = m.filled(m.matrix(from, rows, width, gap), "in", 1e-3);
                const Quantised q = quantise(kernels, m, in, type, gap);
                const Tensor out = m.matrix(type, rows, width), transposed = m.matrix(type, width, rows);
                kernels.quantise({.in_NC = in, .max = q.max, .out_NC = out, .scale = q.scale});
                kernels.quantise({.in_NC = in, .max = q.max, .transposed_CN = transposed, .scale = q.scale});
                const Tensor both = m.filled(m.vector(kF, 1), "old", 1e-3);
                kernels.absolute_max({.in = in, .max = both, .combine = true});
                return {q.max, q.scale, q.out, q.transposed, out, transposed, both};
              });
        }
      }
    }
  }
}

TEST_F(QuantiseBits, OtherScalarsRefuse) {
  const auto kernels = make_reference_kernels(ScalarKind::kDouble);
  EXPECT_THROW(kernels->absolute_max({}), Error);
  EXPECT_THROW(kernels->quantise({}), Error);
}

}  // namespace
}  // namespace baekji
