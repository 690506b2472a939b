// The device's row-wise kernels against the reference in fp32 arithmetic: the same bits at every width, stride, element
// type and number of threads.

#include <cstring>

#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

using RowWise = DeviceCase;

constexpr std::int64_t kWidths[] = {1, 15, 17, 63, 100, 688};

/// Widths and types that every elementwise and normalising kernel is held to.
struct Sizes {
  DType stream;   ///< the residual stream's type
  DType compute;  ///< weights and activations
  std::int64_t rows;
  std::int64_t width;
  std::int64_t gap;
  std::string text() const {
    return fmt::format("{}/{} [{}, {}] gap {}", name_of(stream), name_of(compute), rows, width, gap);
  }
};
std::vector<Sizes> all_sizes() {
  std::vector<Sizes> sizes;
  for (const std::int64_t width : kWidths) {
    for (const auto& [stream, compute] : {std::pair{kF, kF}, std::pair{kF, kB}, std::pair{kB, kB}}) {
      sizes.push_back({stream, compute, 5, width, 0});
      sizes.push_back({stream, compute, 133, width, 9});
    }
  }
  sizes.push_back({kF, kF, 0, 16, 0});
  return sizes;
}

TEST_F(RowWise, RmsNorm) {
  for (const Sizes& s : all_sizes()) {
    for (const bool accumulate : {false, true}) {
      expect_reference_bits("rms_norm " + s.text(), [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
        const Tensor x = m.filled(m.matrix(s.stream, s.rows, s.width, s.gap), "x");
        const Tensor gain = m.filled(m.vector(s.compute, s.width), "gain");
        const Tensor y = m.matrix(s.compute, s.rows, s.width, s.gap), rstd = m.vector(kF, s.rows);
        kernels.rms_norm_forward({.x_NC = x, .gain_C = gain, .y_NC = y, .rstd_N = rstd});
        const Tensor dy = m.filled(m.matrix(s.compute, s.rows, s.width, s.gap), "dy");
        const Tensor dx = m.filled(m.matrix(s.stream, s.rows, s.width, s.gap), "dx");
        const Tensor dgain = m.filled(m.vector(kF, s.width), "dgain");
        kernels.rms_norm_backward({.x_NC = x,
                                   .gain_C = gain,
                                   .rstd_N = rstd,
                                   .dy_NC = dy,
                                   .dx_NC = dx,
                                   .dgain_C = dgain,
                                   .accumulate = accumulate});
        return {y, rstd, dx, dgain};
      });
    }
  }
}

TEST_F(RowWise, RmsNormOfARowDoesNotSeeTheOthers) {
  TestTensors m;
  KernelsUnderTest under_test;
  Kernels& kernels = under_test.on(m);
  const Tensor x = m.filled(m.matrix(kF, 100, 100), "x"), gain = m.filled(m.vector(kF, 100), "gain");
  const Tensor all = m.matrix(kF, 100, 100), one = m.matrix(kF, 1, 100), rstd = m.vector(kF, 100);
  kernels.rms_norm_forward({.x_NC = x, .gain_C = gain, .y_NC = all, .rstd_N = rstd});
  kernels.rms_norm_forward({.x_NC = x.rows(77, 1), .gain_C = gain, .y_NC = one, .rstd_N = rstd.rows(0, 1)});
  expect_same_bits(one, all.rows(77, 1), "row 77 alone");
}

TEST_F(RowWise, Rope) {
  for (const std::int64_t width : {2, 30, 32, 64, 100, 128}) {
    for (const DType type : {kF, kB}) {
      for (const std::int64_t rows : {3, 133}) {
        for (const int mode : {0, 1, 2}) {  // apart, in place, QK-norm
          const std::string what = fmt::format("rope {} [{}, 3, {}] mode {}", name_of(type), rows, width, mode);
          expect_reference_bits(what, [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
            std::vector<std::int32_t> positions;
            for (std::int64_t n = 0; n < rows; ++n) positions.push_back(static_cast<std::int32_t>((n * 5) % 11));
            const Tensor position = m.integers(positions);
            const Tensor cos = m.filled(m.matrix(kF, 11, width / 2), "cos", 1),
                         sin = m.filled(m.matrix(kF, 11, width / 2), "sin", 1);
            const Tensor gain = mode == 2 ? m.filled(m.vector(type, width), "gain") : Tensor();
            const Tensor x = m.filled(m.heads(type, rows, 3, width, 40), "x");
            const Tensor y = mode == 1 ? x : m.heads(type, rows, 3, width, 8);
            const Tensor rstd = m.filled(m.matrix(kF, rows, 3, 2), "rstd");
            kernels.rope_forward({.x_NHD = x,
                                  .y_NHD = y,
                                  .position_N = position,
                                  .cos_PE = cos,
                                  .sin_PE = sin,
                                  .gain_D = gain,
                                  .rstd_NH = rstd});
            const Tensor dy = m.filled(m.heads(type, rows, 3, width, 4), "dy");
            const Tensor dx = mode == 0 ? m.heads(type, rows, 3, width, 12) : dy;
            const Tensor dgain = m.filled(m.vector(kF, width), "dgain");
            kernels.rope_backward({.dy_NHD = dy,
                                   .dx_NHD = dx,
                                   .position_N = position,
                                   .cos_PE = cos,
                                   .sin_PE = sin,
                                   .x_NHD = x,
                                   .gain_D = gain,
                                   .rstd_NH = rstd,
                                   .dgain_D = dgain});
            return {y, rstd, dx, dgain};
          });
        }
      }
    }
  }
}

TEST_F(RowWise, Swiglu) {
  for (const Sizes& s : all_sizes()) {
    if (s.stream != s.compute) continue;
    for (const bool in_place : {false, true}) {
      expect_reference_bits("swiglu " + s.text(), [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
        // Both halves of one fused product, values into the saturated range of the exponential.
        const Tensor both = m.filled(m.matrix(s.compute, s.rows, 2 * s.width, s.gap), "gate", 120);
        const Tensor gate = both.columns(0, s.width), up = both.columns(s.width, s.width);
        const Tensor y = m.matrix(s.compute, s.rows, s.width);
        kernels.swiglu_forward({.gate_NF = gate, .up_NF = up, .y_NF = y});
        const Tensor dy = m.filled(m.matrix(s.compute, s.rows, s.width), "dy");
        const Tensor dboth = in_place ? both : m.matrix(s.compute, s.rows, 2 * s.width);
        const Tensor dgate = dboth.columns(0, s.width), dup = dboth.columns(s.width, s.width);
        kernels.swiglu_backward({.gate_NF = gate, .up_NF = up, .dy_NF = dy, .dgate_NF = dgate, .dup_NF = dup});
        return {y, dgate, dup};
      });
    }
  }
}

TEST_F(RowWise, SwigluIsFiniteEverywhere) {
  TestTensors m;
  const auto kernels = make_reference_kernels(ScalarKind::kFloat);
  const Tensor gate = m.matrix(kF, 1, 6), up = m.filled(m.matrix(kF, 1, 6), "one", 0, 1), y = m.matrix(kF, 1, 6);
  const float values[] = {-1e30F, -90.0F, -0.0F, 0.0F, 90.0F, 1e30F};
  const float wanted[] = {-0.0F, 0.0F, -0.0F, 0.0F, 90.0F, 1e30F};
  for (int i = 0; i < 6; ++i) gate.as<float>()[i] = values[i];
  kernels->swiglu_forward({.gate_NF = gate, .up_NF = up, .y_NF = y});
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(y.as<float>()[i], wanted[i], 1e-30F) << values[i];
}

TEST_F(RowWise, Embedding) {
  for (const Sizes& s : all_sizes()) {
    expect_reference_bits("embedding " + s.text(), [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
      std::vector<std::int32_t> tokens;
      for (std::int64_t n = 0; n < s.rows; ++n) tokens.push_back(static_cast<std::int32_t>(95 + (n * 7) % 20));
      const Tensor token = m.integers(tokens);
      const Tensor table = m.filled(m.matrix(s.compute, 10, s.width), "table");
      const Tensor y = m.matrix(s.stream, s.rows, s.width, s.gap);
      kernels.embedding_forward({.token_N = token, .table_VC = table, .y_NC = y, .first_row = 100, .scale = 1.7});
      const Tensor dy = m.filled(m.matrix(s.stream, s.rows, s.width, s.gap), "dy"),
                   dtable = m.filled(m.matrix(kF, 10, s.width), "dtable");
      kernels.embedding_backward({.token_N = token, .dy_NC = dy, .dtable_VC = dtable, .first_row = 100, .scale = 1.7});
      return {y, dtable};
    });
  }
}

TEST_F(RowWise, CrossEntropy) {
  for (const std::int64_t columns : {0, 1, 15, 17, 63, 100, 688, 2500}) {
    for (const DType type : {kF, kB}) {
      for (const bool in_place : {false, true}) {
        if (in_place && type == kB) continue;
        const std::string what = fmt::format("cross-entropy {} {} columns", name_of(type), columns);
        expect_reference_bits(what, [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
          const std::int64_t rows = 37, padded = columns + 5;
          std::vector<std::int32_t> targets;
          for (std::int64_t n = 0; n < rows; ++n)
            targets.push_back(static_cast<std::int32_t>(1000 + (n * 31) % (columns + 7) - 3));
          const Tensor target = m.integers(targets);
          const Tensor logits = m.filled(m.matrix(kF, rows, padded, 3), "logits", 60);
          const Tensor max = m.filled(m.vector(kF, rows), "max", 50), sum = m.vector(kF, rows),
                       loss = m.vector(kF, rows);
          const Tensor target_logit = m.filled(m.vector(kF, rows), "target", 1);
          kernels.logits_max(
              {.logits_NV = logits, .max_N = max, .combine = in_place, .columns = columns, .logit_scale = 0.9});
          if (columns == 0) m.filled(max, "max", 50);
          kernels.logits_exp_sum({.logits_NV = logits,
                                  .max_N = max,
                                  .sum_N = sum,
                                  .target_N = target,
                                  .target_logit_N = target_logit,
                                  .columns = columns,
                                  .first_row = 1000});
          kernels.token_loss({.sum_N = sum, .target_logit_N = target_logit, .loss_N = loss});
          const Tensor gradient = in_place ? logits : m.filled(m.matrix(type, rows, padded, 2), "junk");
          const Tensor exponentials = in_place ? max : m.matrix(kF, rows, padded);
          if (!in_place) kernels.cast({.in = logits, .out = exponentials});
          kernels.logits_gradient({.exp_NV = logits,
                                   .sum_N = sum,
                                   .target_N = target,
                                   .dlogits_NV = gradient,
                                   .columns = columns,
                                   .first_row = 1000,
                                   .logit_scale = 0.9});
          return {max, sum, target_logit, loss, gradient, exponentials};
        });
      }
    }
  }
}

TEST_F(RowWise, TreeAdd) {
  for (const Sizes& s : all_sizes()) {
    for (const std::size_t count : {1U, 2U, 4U, 8U, 32U}) {
      if ((s.rows > 5) != (count == 2 || count == 4) || s.width == 63) continue;
      for (const int residual : {0, 1, 2}) {  // none, apart, aliased
        expect_reference_bits(
            fmt::format("tree_add of {} {}", count, s.text()),
            [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
              std::vector<Tensor> leaves;
              for (std::size_t i = 0; i < count; ++i)
                leaves.push_back(m.filled(m.matrix(s.compute, s.rows, s.width, s.gap), fmt::format("leaf {}", i)));
              const Tensor out = m.filled(m.matrix(s.stream, s.rows, s.width, 1), "out");
              const Tensor other = m.filled(m.matrix(s.stream, s.rows, s.width, 2), "residual");
              kernels.tree_add({.leaves_NC = leaves,
                                .out_NC = out,
                                .residual_NC = residual == 0   ? Tensor()
                                               : residual == 1 ? other
                                                               : out,
                                .scale = 0.3});
              return {out};
            });
      }
    }
  }
}

TEST_F(RowWise, CastAndFill) {
  for (const DType from : {kF, kB}) {
    for (const DType to : {kF, kB}) {
      for (const std::int64_t gap : {0, 3}) {
        expect_reference_bits(fmt::format("cast {} to {}", name_of(from), name_of(to)),
                              [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
                                const Tensor in = m.filled(m.matrix(from, 301, 700, gap), "in"),
                                             out = m.matrix(to, 301, 700, gap);
                                kernels.cast({.in = in, .out = out, .scale = 1.1});
                                const Tensor deep = m.filled(m.sequences(from, 3, 5, 2, 7, gap), "deep"),
                                             deep_out = m.sequences(to, 3, 5, 2, 7, gap);
                                kernels.cast({.in = deep, .out = deep_out});
                                const Tensor zero = m.filled(m.matrix(to, 9, 100, gap), "zero");
                                kernels.fill_zero(zero.columns(0, 90));
                                return {out, deep_out, zero};
                              });
      }
    }
  }
}

TEST_F(RowWise, CopyMovesEveryBit) {
  for (const std::int64_t count : {0, 1, 1000, 300001}) {
    expect_reference_bits(
        fmt::format("copy of {}", count), [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
          const Tensor in = m.filled(m.vector(kF, count), "in");
          const Tensor out = m.vector(kF, count);
          kernels.copy({.from = in, .to = out});
          EXPECT_TRUE(count == 0 || std::memcmp(in.data(), out.data(), static_cast<std::size_t>(in.size_bytes())) == 0);
          EXPECT_THROW(kernels.copy({.from = in, .to = m.vector(kB, count)}), Error);
          EXPECT_THROW(kernels.copy({.from = in, .to = m.vector(kF, count + 1)}), Error);
          return {out};
        });
  }
}

TEST_F(RowWise, SequenceLoss) {
  for (const std::int64_t sequences : {0, 1, 3, 40}) {
    for (const std::int64_t positions : {1, 31, 33, 700}) {
      expect_reference_bits(fmt::format("sequence_loss [{}, {}]", sequences, positions),
                            [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
                              const Tensor loss = m.filled(m.vector(kF, sequences * positions), "loss", 9);
                              const Tensor sum = m.filled(m.vector(DType::kFloat64, sequences), "junk");
                              kernels.sequence_loss({.loss_BT = loss.view({sequences, positions}), .sum_B = sum});
                              return {sum};
                            });
    }
  }
}

TEST_F(RowWise, UploadAndDownloadMoveEveryBit) {
  TestTensors m;
  KernelsUnderTest under_test;
  Kernels& kernels = under_test.on(m);
  for (const std::int64_t count : {0, 1, 1000, 2500001}) {  // the last: more than one piece of staging memory
    std::vector<std::uint16_t> sent(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::uint16_t>(i * 40503U);
    const Tensor there = m.vector(kB, count);
    std::vector<std::uint16_t> from = sent;
    kernels.upload({.from = from.data(), .to = there});
    from.assign(from.size(), 7);  // the memory is ours again at once
    std::vector<std::uint16_t> back(sent.size(), 1);
    kernels.download({.from = there, .to = back.data()});
    EXPECT_EQ(back, sent) << count;
  }
  const Tensor gaps = m.matrix(kF, 3, 4, 1);
  EXPECT_THROW(kernels.upload({.from = gaps.data(), .to = gaps}), Error);
  EXPECT_THROW(kernels.download({.from = gaps, .to = gaps.data()}), Error);
}

}  // namespace
}  // namespace baekji
