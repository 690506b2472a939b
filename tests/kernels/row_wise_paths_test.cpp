// Row-wise kernels where a device takes another way than in the common cases: rows of several tiles, more leaves than
// travel in one launch, tokens that many positions share, and rows that begin on 16 bytes beside rows that do not.

#include <limits>

#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

using RowWise = DeviceCase;

TEST_F(RowWise, TreeAddOfManyLeaves) {
  for (const std::size_t count : {16U, 64U, 128U, 8192U}) {
    for (const auto& [type, width] : {std::pair{kF, 24}, std::pair{kB, 24}, std::pair{kB, 11}}) {
      const std::string what = fmt::format("tree_add of {} {} leaves of {} columns", count, name_of(type), width);
      expect_reference_bits(what, [&, type = type, width = width](Kernels& kernels, TestTensors& m) {
        std::vector<Tensor> leaves;
        const Tensor all = m.filled(m.matrix(type, static_cast<std::int64_t>(count) * 3, width), "leaves");
        for (std::size_t i = 0; i < count; ++i) leaves.push_back(all.rows(static_cast<std::int64_t>(i) * 3, 3));
        const Tensor out = m.filled(m.matrix(kF, 3, width), "out");
        kernels.tree_add({.leaves_NC = leaves, .out_NC = out, .residual_NC = out, .scale = 0.3});
        // Onto a leaf: it is read before it is written.
        kernels.tree_add({.leaves_NC = leaves, .out_NC = leaves[1]});
        return std::vector<Tensor>{out, all};
      });
    }
  }
}

TEST_F(RowWise, EmbeddingOfFrequentTokens) {
  // Tokens that 1,000 and 300 positions share, some with lengths about the border between the ways to fold, and many
  // that come once; some outside the table, among and behind the others.
  std::vector<std::int32_t> tokens(9000);
  for (std::size_t n = 0; n < tokens.size(); ++n) tokens[n] = static_cast<std::int32_t>(n % 2 == 0 ? 3000 + n : n % 37);
  const auto place = [&](std::int32_t token, std::size_t count, std::size_t first, std::size_t step) {
    for (std::size_t i = 0; i < count; ++i) tokens[first + i * step] = token;
  };
  place(500, 1000, 0, 2);
  place(510, 255, 2000, 6);
  place(511, 256, 2002, 6);
  place(512, 257, 2004, 6);
  place(199, 300, 4000, 2);
  place(619, 300, 5000, 12);
  for (const auto& [type, width, gap] : {std::tuple{kB, 136, 0}, std::tuple{kB, 67, 3}, std::tuple{kF, 67, 1}}) {
    const std::string what = fmt::format("embedding_backward of frequent tokens, {} [{}]", name_of(type), width);
    expect_reference_bits(what, [&, type = type, width = width, gap = gap](Kernels& kernels, TestTensors& m) {
      const Tensor token = m.integers(tokens);
      const Tensor dy = m.filled(m.matrix(type, 9000, width, gap), "dy");
      const Tensor dtable = m.filled(m.matrix(kF, 420, width, gap), "dtable");
      kernels.embedding_backward({.token_N = token, .dy_NC = dy, .dtable_VC = dtable, .first_row = 200, .scale = 0.7});
      return std::vector<Tensor>{dtable};
    });
  }
}

TEST_F(RowWise, CrossEntropyOfWideRows) {
  for (const std::int64_t columns : {4095, 4096, 4100, 12300}) {
    for (const std::int64_t gap : {4, 5}) {  // rows that begin on 16 bytes, and rows that do not
      for (const double logit_scale : {1.0, 0.9}) {
        const std::string what = fmt::format("cross-entropy of {} columns, gap {}", columns, gap);
        expect_reference_bits(what, [&](Kernels& kernels, TestTensors& m) {
          const std::int64_t rows = 5, pitch = round_up(columns, 8);
          const auto last = static_cast<std::int32_t>(columns) - 1;
          const Tensor target = m.integers({0, last, last + 1, 17, -100});
          const Tensor logits = m.filled(m.matrix(kF, rows, pitch, gap), "logits", 60);
          const Tensor max = m.vector(kF, rows), sum = m.vector(kF, rows);
          const Tensor target_logit = m.filled(m.vector(kF, rows), "target", 1);
          kernels.logits_max({.logits_NV = logits, .max_N = max, .columns = columns, .logit_scale = logit_scale});
          kernels.logits_exp_sum({.logits_NV = logits,
                                  .max_N = max,
                                  .sum_N = sum,
                                  .target_N = target,
                                  .target_logit_N = target_logit,
                                  .columns = columns});
          const Tensor gradient = m.filled(m.matrix(kB, rows, pitch, gap), "junk");
          kernels.logits_gradient({.exp_NV = logits,
                                   .sum_N = sum,
                                   .target_N = target,
                                   .dlogits_NV = gradient,
                                   .columns = columns,
                                   .logit_scale = logit_scale});
          return std::vector<Tensor>{max, sum, target_logit, logits, gradient};
        });
      }
    }
  }
}

TEST_F(RowWise, LogitsMaxOfZerosAndNan) {
  for (const bool combine : {false, true}) {
    expect_reference_bits("logits_max of zeros and NaN", [&](Kernels& kernels, TestTensors& m) {
      constexpr float kNanLogit = std::numeric_limits<float>::quiet_NaN();
      const Tensor logits = m.filled(m.matrix(kF, 6, 300), "negative", 1, -2),
                   max = m.filled(m.vector(kF, 6), "max", 3);
      float* at = logits.as<float>();
      at[299] = -0.0F;
      at[300] = -0.0F;
      at[310] = 0.0F;
      for (int i = 600; i < 900; ++i) at[i] = kNanLogit;
      at[900] = at[1199] = kNanLogit;
      at[1300] = std::numeric_limits<float>::infinity();
      max.as<float>()[0] = max.as<float>()[1] = -0.0F;
      max.as<float>()[5] = kNanLogit;
      kernels.logits_max({.logits_NV = logits, .max_N = max, .combine = combine, .columns = 300});
      return std::vector<Tensor>{max, logits};
    });
  }
}

TEST_F(RowWise, ElementwiseOfRowsOnSixteenBytes) {
  // Gaps of whole vectors, a last group that is not whole, and rows too wide for one block.
  for (const DType type : {kF, kB}) {
    for (const std::int64_t width : {8, 20, 2060, 4096}) {
      const std::int64_t gap = round_up(width, 8) - width + 8;
      expect_reference_bits(fmt::format("{} [{}]", name_of(type), width), [&](Kernels& kernels, TestTensors& m) {
        const Tensor gate = m.filled(m.matrix(type, 7, width, gap), "gate", 9);
        const Tensor up = m.filled(m.matrix(type, 7, width, gap), "up");
        const Tensor y = m.filled(m.matrix(type, 7, width, gap), "y");
        kernels.swiglu_forward({.gate_NF = gate, .up_NF = up, .y_NF = y});
        kernels.swiglu_backward({.gate_NF = gate, .up_NF = up, .dy_NF = y, .dgate_NF = gate, .dup_NF = up});
        const Tensor table = m.filled(m.matrix(kF, 3, width, gap), "table");
        const Tensor token = m.integers({2, 0, 1, 2, 5, -1, 2}), x = m.matrix(type, 7, width, gap);
        kernels.embedding_forward({.token_N = token, .table_VC = table, .y_NC = x, .scale = 1.3});
        kernels.embedding_backward({.token_N = token, .dy_NC = y, .dtable_VC = table});
        return std::vector<Tensor>{y, gate, up, x, table};
      });
    }
  }
}

TEST_F(RowWise, CastAndFillOfStridedDims) {
  for (const std::int64_t gap : {0, 3, 8}) {
    expect_reference_bits(fmt::format("four dims, gap {}", gap), [&](Kernels& kernels, TestTensors& m) {
      const Tensor in = m.filled(m.sequences(kF, 3, 5, 4, 16, gap), "in");
      const Tensor part = m.filled(m.matrix(kB, 15, 4 * 24, gap), "part").split_last(4).split_first(3).columns(8, 16);
      kernels.cast({.in = in, .out = part, .scale = 0.7});
      const Tensor back = m.filled(m.sequences(kF, 3, 5, 4, 16), "back");
      kernels.cast({.in = part, .out = back});
      const Tensor zero = m.filled(m.sequences(kB, 3, 5, 4, 24, gap), "zero");
      kernels.fill_zero(zero.columns(3, 17));
      const Tensor flat = m.filled(m.vector(kF, 1000), "flat"), flat_out = m.vector(kB, 1000);
      kernels.cast({.in = flat, .out = flat_out, .scale = 3});
      return std::vector<Tensor>{part, back, zero, flat_out};
    });
  }
}

}  // namespace
}  // namespace baekji
