// Every backward kernel of the reference in fp64 against the complex-step derivative of its forward kernel (Squire and
// Trapp 1998): no subtraction, so the oracle is exact to rounding.

#include <cmath>

#include "kernels/kernels.h"
#include "tests/kernels/test_tensors.h"
#include "tests/kernels/tolerance.h"

namespace baekji {
namespace {

constexpr double kStep = 1e-25;
constexpr double kBound = 1e-12;  // of the largest gradient

double largest(const std::vector<double>& values) {
  double m = 0;
  for (const double v : values) m = std::max(m, std::fabs(v));
  return m;
}

/// Offsets of all elements of a tensor, row-major.
std::vector<std::int64_t> offsets_of(const Tensor& t) {
  std::vector<std::int64_t> offsets{0};
  for (int d = 0; d < t.rank(); ++d) {
    std::vector<std::int64_t> next;
    for (const std::int64_t base : offsets) {
      for (std::int64_t i = 0; i < t.dim(d); ++i) next.push_back(base + i * t.stride(d));
    }
    offsets = std::move(next);
  }
  return offsets;
}

/// Checks `gradient` (fp64) of sum(weight * output) with respect to `input` (complex); `forward` recomputes `output`.
void expect_derivative(const std::string& what, const Tensor& gradient, const Tensor& input, const Tensor& output,
                       const Tensor& weight, const std::function<void()>& forward) {
  const std::vector<std::int64_t> at_input = offsets_of(input);
  const std::vector<std::int64_t> at_output = offsets_of(output);
  const std::vector<double> weights = values_of(weight);
  const std::vector<double> got = values_of(gradient);
  ASSERT_EQ(got.size(), at_input.size()) << what;
  ASSERT_EQ(weights.size(), at_output.size()) << what;
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    Complex& slot = input.as<Complex>()[at_input[i]];
    const Complex before = slot;
    slot += Complex(0, kStep);
    forward();
    slot = before;
    double derivative = 0;
    for (std::size_t o = 0; o < at_output.size(); ++o)
      derivative += weights[o] * output.as<Complex>()[at_output[o]].imag() / kStep;
    worst = std::max(worst, std::fabs(derivative - got[i]));
  }
  EXPECT_GT(largest(got), 0) << what;
  EXPECT_LE(worst, kBound * largest(got)) << what;
  std::printf("  %-28s %4zu elements, error %.1e of the largest gradient\n", what.c_str(), got.size(),
              worst / largest(got));
}

class Gradient : public ::testing::Test {
 protected:
  static constexpr DType kD = DType::kFloat64;
  static constexpr DType kC = DType::kComplex128;
  std::unique_ptr<Kernels> real_ = make_reference_kernels(ScalarKind::kDouble);
  std::unique_ptr<Kernels> complex_ = make_reference_kernels(ScalarKind::kComplex);
  TestTensors memory_;

  Tensor matrix(DType type, std::int64_t n, std::int64_t c, const std::string& name, double spread = 2) {
    return memory_.filled(memory_.matrix(type, n, c, 3), name, spread);
  }
  Tensor vector(DType type, std::int64_t n, const std::string& name) {
    return memory_.filled(memory_.vector(type, n), name);
  }
};

TEST_F(Gradient, Matmul) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const std::int64_t m = 3, k = 5, n = 4;
      const auto a = [&](DType t) { return ta ? matrix(t, k, m, "a") : matrix(t, m, k, "a"); };
      const auto b = [&](DType t) { return tb ? matrix(t, n, k, "b") : matrix(t, k, n, "b"); };
      const Tensor dc = matrix(kD, m, n, "dc");
      const Tensor da = memory_.filled(memory_.matrix(kD, ta ? k : m, ta ? m : k), "old", 0, 0);
      // da = dc op(b)^T (or its transpose), by the same operation.
      if (ta)
        real_->matmul({.a = b(kD), .b = dc, .c = da, .transpose_a = tb, .transpose_b = true});
      else
        real_->matmul({.a = dc, .b = b(kD), .c = da, .transpose_b = !tb});
      const Tensor ca = a(kC), cb = b(kC), cc = matrix(kC, m, n, "c");
      expect_derivative(fmt::format("matmul{}{}", ta ? " ta" : "", tb ? " tb" : ""), da, ca, cc, dc,
                        [&] { complex_->matmul({.a = ca, .b = cb, .c = cc, .transpose_a = ta, .transpose_b = tb}); });
    }
  }
}

TEST_F(Gradient, RmsNorm) {
  const std::int64_t n = 4, c = 19;
  const auto forward = [&](Kernels& kernels, const Tensor& x, const Tensor& gain, const Tensor& y, const Tensor& rstd) {
    kernels.rms_norm_forward({.x_NC = x, .gain_C = gain, .y_NC = y, .rstd_N = rstd, .eps = 0.01});
  };
  const Tensor x = matrix(kD, n, c, "x"), gain = vector(kD, c, "gain"), dy = matrix(kD, n, c, "dy"),
               rstd = vector(kD, n, "rstd");
  forward(*real_, x, gain, matrix(kD, n, c, "y"), rstd);
  const Tensor dx = matrix(kD, n, c, "none", 0), dgain = memory_.filled(memory_.vector(kD, c), "none", 0);
  real_->rms_norm_backward({.x_NC = x, .gain_C = gain, .rstd_N = rstd, .dy_NC = dy, .dx_NC = dx, .dgain_C = dgain});
  const Tensor cx = matrix(kC, n, c, "x"), cgain = vector(kC, c, "gain"), cy = matrix(kC, n, c, "y"),
               crstd = vector(kC, n, "rstd");
  const auto again = [&] { forward(*complex_, cx, cgain, cy, crstd); };
  expect_derivative("rms_norm dx", dx, cx, cy, dy, again);
  expect_derivative("rms_norm dgain", dgain, cgain, cy, dy, again);
}

TEST_F(Gradient, Rope) {
  const std::int64_t n = 3, h = 2, d = 10;
  const Tensor position = memory_.integers({4, 0, 2});
  for (const bool normalise : {false, true}) {
    const auto tensors = [&](DType t, const std::string& name) {
      return memory_.filled(memory_.heads(t, n, h, d, 5), name);
    };
    const auto forward = [&](Kernels& kernels, DType t, const Tensor& x, const Tensor& y, const Tensor& gain,
                             const Tensor& rstd) {
      kernels.rope_forward({.x_NHD = x,
                            .y_NHD = y,
                            .position_N = position,
                            .cos_PE = matrix(t, 5, d / 2, "cos"),
                            .sin_PE = matrix(t, 5, d / 2, "sin"),
                            .gain_D = gain,
                            .rstd_NH = rstd,
                            .eps = 0.01});
    };
    const Tensor gain = normalise ? vector(kD, d, "gain") : Tensor();
    const Tensor cgain = normalise ? vector(kC, d, "gain") : Tensor();
    const Tensor x = tensors(kD, "x"), dy = tensors(kD, "dy"), dx = tensors(kD, "dx"), rstd = matrix(kD, n, h, "rstd");
    forward(*real_, kD, x, tensors(kD, "y"), gain, rstd);
    const Tensor dgain = memory_.filled(memory_.vector(kD, d), "none", 0);
    real_->rope_backward({.dy_NHD = dy,
                          .dx_NHD = dx,
                          .position_N = position,
                          .cos_PE = matrix(kD, 5, d / 2, "cos"),
                          .sin_PE = matrix(kD, 5, d / 2, "sin"),
                          .x_NHD = x,
                          .gain_D = gain,
                          .rstd_NH = rstd,
                          .dgain_D = dgain});
    const Tensor cx = tensors(kC, "x"), cy = tensors(kC, "y"), crstd = matrix(kC, n, h, "rstd");
    const auto again = [&] { forward(*complex_, kC, cx, cy, cgain, crstd); };
    expect_derivative(normalise ? "rope + qk-norm dx" : "rope dx", dx, cx, cy, dy, again);
    if (normalise) expect_derivative("rope + qk-norm dgain", dgain, cgain, cy, dy, again);
  }
}

TEST_F(Gradient, Attention) {
  const std::int64_t b = 2, tq = 4, tk = 6, h = 4, k = 2, d = 3;
  const Tensor first = Tensor(memory_.integers({0, 0, 3, 3, 1, 2, 2, 5}).data(), DType::kInt32, {b, tq});
  for (const bool masked : {false, true}) {
    const auto queries = [&](DType t, const std::string& name) {
      return memory_.filled(memory_.sequences(t, b, tq, h, d, 1), name);
    };
    const auto keys = [&](DType t, const std::string& name) {
      return memory_.filled(memory_.sequences(t, b, tk, k, d, 2), name);
    };
    const auto lse = [&](DType t) { return Tensor(memory_.vector(t, b * h * tq).data(), t, {b, h, tq}); };
    const auto forward = [&](Kernels& kernels, const Tensor& q, const Tensor& key, const Tensor& v, const Tensor& y,
                             const Tensor& l) {
      kernels.attention_forward({.q_BTHD = q,
                                 .k_BTKD = key,
                                 .v_BTKD = v,
                                 .y_BTHD = y,
                                 .lse_BHT = l,
                                 .first_BT = masked ? first : Tensor(),
                                 .scale = 0.7});
    };
    const Tensor q = queries(kD, "q"), key = keys(kD, "k"), v = keys(kD, "v"), y = queries(kD, "y"),
                 dy = queries(kD, "dy"), l = lse(kD);
    forward(*real_, q, key, v, y, l);
    const Tensor dq = queries(kD, "dq"), dk = keys(kD, "dk"), dv = keys(kD, "dv");
    real_->attention_backward({.q_BTHD = q,
                               .k_BTKD = key,
                               .v_BTKD = v,
                               .y_BTHD = y,
                               .lse_BHT = l,
                               .first_BT = masked ? first : Tensor(),
                               .dy_BTHD = dy,
                               .dq_BTHD = dq,
                               .dk_BTKD = dk,
                               .dv_BTKD = dv,
                               .scale = 0.7});
    const Tensor cq = queries(kC, "q"), ck = keys(kC, "k"), cv = keys(kC, "v"), cy = queries(kC, "y"), cl = lse(kC);
    const auto again = [&] { forward(*complex_, cq, ck, cv, cy, cl); };
    const std::string kind = masked ? "masked attention " : "attention ";
    expect_derivative(kind + "dq", dq, cq, cy, dy, again);
    expect_derivative(kind + "dk", dk, ck, cy, dy, again);
    expect_derivative(kind + "dv", dv, cv, cy, dy, again);
  }
}

TEST_F(Gradient, Swiglu) {
  const std::int64_t n = 3, f = 7;
  const Tensor gate = matrix(kD, n, f, "gate", 6), up = matrix(kD, n, f, "up"), dy = matrix(kD, n, f, "dy");
  const Tensor dgate = matrix(kD, n, f, "none"), dup = matrix(kD, n, f, "none");
  real_->swiglu_backward({.gate_NF = gate, .up_NF = up, .dy_NF = dy, .dgate_NF = dgate, .dup_NF = dup});
  const Tensor cgate = matrix(kC, n, f, "gate", 6), cup = matrix(kC, n, f, "up"), cy = matrix(kC, n, f, "y");
  const auto again = [&] { complex_->swiglu_forward({.gate_NF = cgate, .up_NF = cup, .y_NF = cy}); };
  expect_derivative("swiglu dgate", dgate, cgate, cy, dy, again);
  expect_derivative("swiglu dup", dup, cup, cy, dy, again);
}

TEST_F(Gradient, Embedding) {
  const std::int64_t v = 4, c = 5;
  const Tensor token = memory_.integers({11, 9, 11, 13, 10, 12, 14});  // 9 and 14 lie in other slices
  const Tensor dy = matrix(kD, 7, c, "dy"), dtable = memory_.filled(memory_.matrix(kD, v, c), "none", 0);
  real_->embedding_backward({.token_N = token, .dy_NC = dy, .dtable_VC = dtable, .first_row = 10, .scale = 1.5});
  const Tensor table = matrix(kC, v, c, "table"), cy = matrix(kC, 7, c, "y");
  expect_derivative("embedding dtable", dtable, table, cy, dy, [&] {
    complex_->embedding_forward({.token_N = token, .table_VC = table, .y_NC = cy, .first_row = 10, .scale = 1.5});
  });
}

// Two slices of a vocabulary of 11, the second padded to 6 columns; every pass, and a logit scale.
TEST_F(Gradient, CrossEntropy) {
  const std::int64_t n = 3;
  const std::int64_t width = 6;
  const std::vector<std::int64_t> columns{6, 5};
  const Tensor target = memory_.integers({2, 10, 6});
  struct Pass {
    std::vector<Tensor> logits;
    Tensor sum, loss;
  };
  const auto run = [&](Kernels& kernels, DType t, const std::vector<Tensor>& inputs) {
    Pass pass{.sum = memory_.filled(memory_.vector(t, n), "none", 0), .loss = memory_.vector(t, n)};
    const Tensor max = memory_.vector(t, n), target_logit = memory_.vector(t, n), part = memory_.vector(t, n);
    for (std::size_t s = 0; s < 2; ++s) {
      pass.logits.push_back(memory_.matrix(t, n, width));
      kernels.cast({.in = inputs[s], .out = pass.logits[s]});
      kernels.logits_max(
          {.logits_NV = pass.logits[s], .max_N = max, .combine = s > 0, .columns = columns[s], .logit_scale = 0.8});
    }
    for (std::size_t s = 0; s < 2; ++s) {
      kernels.logits_exp_sum({.logits_NV = pass.logits[s],
                              .max_N = max,
                              .sum_N = part,
                              .target_N = target,
                              .target_logit_N = target_logit,
                              .columns = columns[s],
                              .first_row = static_cast<std::int64_t>(s) * width});
      const Tensor leaves[2] = {pass.sum.view({n, 1}), part.view({n, 1})};
      kernels.tree_add({.leaves_NC = leaves, .out_NC = pass.sum.view({n, 1})});
    }
    kernels.token_loss({.sum_N = pass.sum, .target_logit_N = target_logit, .loss_N = pass.loss});
    return pass;
  };
  const Pass pass = run(*real_, kD, {matrix(kD, n, width, "l0", 4), matrix(kD, n, width, "l1", 4)});
  const std::vector<Tensor> inputs{matrix(kC, n, width, "l0", 4), matrix(kC, n, width, "l1", 4)};
  const Tensor loss = memory_.vector(kC, n), ones = memory_.filled(memory_.vector(kD, n), "none", 0, 1);
  for (std::size_t s = 0; s < 2; ++s) {
    const Tensor gradient = memory_.matrix(kD, n, width);
    real_->logits_gradient({.exp_NV = pass.logits[s],
                            .sum_N = pass.sum,
                            .target_N = target,
                            .dlogits_NV = gradient,
                            .columns = columns[s],
                            .first_row = static_cast<std::int64_t>(s) * width,
                            .logit_scale = 0.8});
    expect_derivative(fmt::format("cross-entropy slice {}", s), gradient, inputs[s], loss, ones,
                      [&] { complex_->cast({.in = run(*complex_, kC, inputs).loss, .out = loss}); });
  }
}

}  // namespace
}  // namespace baekji
