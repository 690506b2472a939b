// The gradients of a whole model against complex-step differentiation: exact to rounding, before any fixed point.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tests/model/oracle_model.h"

namespace baekji::oracle {
namespace {

struct Case {
  const char* name;
  Setup setup;
};

Setup with(std::int64_t grains, void (*change)(ModelConfig&), Recompute recompute = Recompute::kNone,
           bool split_backward = false) {
  Setup setup{.model = small_model(), .grains = grains, .recompute = recompute, .split_backward = split_backward};
  change(setup.model);
  return setup;
}

void plain(ModelConfig& /*m*/) {}
void everything(ModelConfig& m) {
  m.qk_norm = true;
  m.output_norms = true;
  m.document_mask = true;
  m.embedding_multiplier = 3.0;
  m.attention_multiplier = 0.7;
  m.residual_multiplier = 0.6;
  m.logits_multiplier = 1.3;
}
void tied(ModelConfig& m) {
  m.tied_embeddings = true;
  m.qk_norm = true;
}

// Else GoogleTest prints the bytes of the struct, padding included, as part of the test's name.
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class WholeModel : public testing::TestWithParam<Case> {};

TEST_P(WholeModel, GradientsAgreeWithComplexStep) {
  constexpr double kStep = 1e-30;
  OracleModel<double> real(GetParam().setup);
  OracleModel<Complex> complex(GetParam().setup);
  const auto gradients = real.gradients();
  double worst = 0;
  std::int64_t checked = 0;
  for (std::size_t s = 0; s < gradients.size(); ++s) {
    double largest = 0;
    for (const double g : gradients[s]) largest = std::max(largest, std::fabs(g));
    for (std::size_t i = 0; i < gradients[s].size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const ParameterSlice& slice = real.slices()[s];
      if (slice.spec->logical.logical_index(slice.slice, index) < 0) {
        EXPECT_EQ(gradients[s][i], 0.0) << "padded row of " << slice.spec->logical.name;
        continue;
      }
      const Complex saved = complex.weight(s, index);
      complex.weight(s, index) += Complex(0, kStep);
      const double expected = complex.loss().imag() / kStep;
      complex.weight(s, index) = saved;
      const double error = std::fabs(gradients[s][i] - expected) / largest;
      worst = std::max(worst, error);
      ASSERT_LE(error, 1e-12) << slice.spec->logical.name << " slice " << slice.slice << " element " << i << ": "
                              << gradients[s][i] << " against " << expected;
      ++checked;
    }
  }
  std::printf("%s: %lld gradients, largest error %.1e of each tensor's largest gradient\n", GetParam().name,
              static_cast<long long>(checked), worst);
}

INSTANTIATE_TEST_SUITE_P(Configurations, WholeModel,
                         testing::Values(Case{"plain", with(1, plain)}, Case{"everything", with(2, everything)},
                                         Case{"tied", with(2, tied)},
                                         Case{"recomputed", with(1, everything, Recompute::kFull)},
                                         Case{"recomputed_in_part", with(2, everything, Recompute::kSelective)},
                                         Case{"split", with(2, everything, Recompute::kNone, true)}),
                         [](const auto& instance) { return instance.param.name; });

TEST(WholeModel, GrainsDoNotChangeTheMathematics) {
  oracle::Setup one{.model = small_model()};
  oracle::Setup two = one;
  two.grains = 2;
  const double loss_one = OracleModel<double>(one).loss();
  const double loss_two = OracleModel<double>(two).loss();
  EXPECT_NEAR(loss_one, loss_two, 1e-12 * std::fabs(loss_one));
  EXPECT_NEAR(loss_one / static_cast<double>(one.shape.tokens()), std::log(19.0), 2.0)
      << "a random model is near the uniform loss";
}

TEST(WholeModel, RecomputationGivesTheSameBits) {
  oracle::Setup none{.model = small_model(), .grains = 2};
  everything(none.model);
  oracle::Setup full = none;
  full.recompute = Recompute::kFull;
  oracle::Setup selective = none;
  selective.recompute = Recompute::kSelective;
  const auto expected = OracleModel<double>(none).gradients();
  EXPECT_EQ(expected, OracleModel<double>(full).gradients());
  EXPECT_EQ(expected, OracleModel<double>(selective).gradients());
}

TEST(WholeModel, TheHalvesOfABackwardPassGiveTheBitsOfTheWhole) {
  oracle::Setup whole{.model = small_model(), .grains = 2};
  everything(whole.model);
  oracle::Setup halves = whole;
  halves.split_backward = true;
  EXPECT_EQ(OracleModel<double>(whole).gradients(), OracleModel<double>(halves).gradients());
}

}  // namespace
}  // namespace baekji::oracle
