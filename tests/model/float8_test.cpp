// numerics.precision = "fp8" in a whole model: near the gradients of bf16, and the same bits however a pass is
// arranged.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>

#include "kernels/forwarding_kernels.h"
#include "model/linear.h"
#include "tests/model/oracle_model.h"

namespace baekji::oracle {
namespace {

Setup float8_setup(bool float8) {
  Setup setup{.model = small_model(), .grains = 2, .shape = {.sequences = 2, .context = 16}, .bf16 = true};
  setup.model.hidden = 64;
  setup.model.ffn = 96;
  setup.model.context = 16;
  setup.model.init_std = 0.1;
  setup.model.qk_norm = true;
  setup.float8 = float8;
  return setup;
}

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double distance = 0;
  double length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    distance += difference * difference;
    length += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(distance / length);
}

// Rounding to E4M3 errs by 2.5% of a value (root mean square), to E5M2 by 5%, and the errors of a dot product's terms
// are independent: 3.5% for a product of a forward pass, 5.6% of a backward pass. Both layers have four products each
// way, one after another: at most sqrt(8) * 3.5% = 10% in what the head sees, sqrt(8) * 5.6% = 16% more on the way
// back, and the softmax takes differences. Anything wrong in a scale or an operand would show as 1.
TEST(Float8, GradientsStayNearThoseOfBf16) {
  constexpr double kTolerance = 0.3;
  OracleModel<float> narrow(float8_setup(true));
  OracleModel<float> wide(float8_setup(false));
  const auto got = narrow.gradients();
  const auto want = wide.gradients();
  double worst = 0;
  for (std::size_t s = 0; s < want.size(); ++s) {
    const double distance = relative_distance(got[s], want[s]);
    EXPECT_LE(distance, kTolerance) << wide.slices()[s].spec->logical.name;
    worst = std::max(worst, distance);
  }
  EXPECT_GT(worst, 0.005) << "8 bits must show somewhere";
  std::printf("fp8 gradients: at most %.3f of their length from bf16's, in %zu tensors\n", worst, want.size());
}

TEST(Float8, RecomputationAndHalvesGiveTheSameBits) {
  const auto expected = OracleModel<float>(float8_setup(true)).gradients();
  for (const Recompute recompute : {Recompute::kFull, Recompute::kSelective}) {
    oracle::Setup again = float8_setup(true);
    again.recompute = recompute;
    EXPECT_EQ(OracleModel<float>(again).gradients(), expected);
  }
  oracle::Setup halves = float8_setup(true);
  halves.split_backward = true;
  EXPECT_EQ(OracleModel<float>(halves).gradients(), expected);
}

// What the model asks for: which types meet, and how often something is made into 8 bits.
class ProductCounts final : public ForwardingKernels {
 public:
  using ForwardingKernels::ForwardingKernels;
  void matmul(const MatmulArgs& args) override {
    inner().matmul(args);
    ++products[fmt::format("{} x {} -> {}", name_of(args.a.type()), name_of(args.b.type()), name_of(args.c.type()))];
  }
  void quantise(const QuantiseArgs& args) override {
    inner().quantise(args);
    ++copies;
  }
  std::map<std::string, int> products;
  int copies = 0;
};

TEST(Float8, LinearLayersMultiplyInEightBitsAndNothingElseDoes) {
  const auto reference = make_reference_kernels(ScalarKind::kFloat);
  ProductCounts counts(*reference);
  OracleModel<float> model(float8_setup(true), {.kernels = &counts});
  counts.products.clear();
  model.train();
  // 2 layers, 2 slices, 4 weights; the head stays in bf16: 7 chunks of tokens (the last one short), 2 slices.
  const std::map<std::string, int> expected{{"e4m3 x e4m3 -> bf16", 16},
                                            {"e5m2 x e4m3 -> bf16", 16},
                                            {"e5m2 x e4m3 -> fp32", 16},
                                            {"bf16 x bf16 -> fp32", 28},
                                            {"bf16 x bf16 -> bf16", 14}};
  EXPECT_EQ(counts.products, expected);
  // A branch and micro-batch: the gathered input, its gradient, both again transposed; a slice: each of its input and
  // its gradient plain and transposed, two weights each plain and transposed.
  EXPECT_EQ(counts.copies, 4 * (4 + 2 * 8));
}

TEST(Float8, ShapesThatTheTensorCoresRefuseAreRefusedEarly) {
  const ModelConfig good = float8_setup(true).model;  // a slice: 32 columns of heads, 64 of q, k and v, 48 of ffn
  EXPECT_NO_THROW(validate_float8(good, 2, 32, "here"));
  const auto refused = [](ModelConfig m, std::int64_t grains, std::int64_t tokens, const char* what) {
    try {
      validate_float8(m, grains, tokens, "here");
      ADD_FAILURE() << "accepted, should name " << what;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  refused(good, 2, 24, "micro_batch * context");
  refused(good, 4, 32, "ffn / tensor_grains");
  ModelConfig m = good;
  m.hidden = 72;
  m.head_dim = 16;
  refused(m, 2, 32, "hidden");
  m = good;
  m.head_dim = 12;
  refused(m, 2, 32, "heads * head_dim / tensor_grains");
  m = good;
  m.head_dim = 4;  // 16 columns of heads, 24 of q, k and v
  m.kv_heads = 1;
  refused(m, 1, 32, "(heads + 2 kv_heads) * head_dim / tensor_grains");
}

}  // namespace
}  // namespace baekji::oracle
