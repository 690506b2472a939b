// RMSNorm and rotary embedding where a device takes another way than in the common cases: rows that begin on 16 bytes,
// rows too wide to be kept, several blocks of 64 tokens, gradients in place.

#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

using RowWise = DeviceCase;

TEST_F(RowWise, RmsNormOfWideAndAlignedRows) {
  struct Case {
    DType stream, compute;
    std::int64_t rows, width, gap;
  };
  for (const Case& c : {Case{kB, kB, 130, 136, 8}, Case{kF, kB, 70, 72, 16}, Case{kF, kF, 65, 20, 4},
                        Case{kB, kB, 70, 2048, 0}, Case{kF, kB, 9, 8192, 0}, Case{kB, kB, 5, 8200, 3},
                        Case{kF, kF, 3, 16400, 0}, Case{kF, kF, 3, 55001, 3}, Case{kB, kB, 3, 110008, 0}}) {
    for (const bool in_place : {false, true}) {
      if (in_place && c.stream != c.compute) continue;
      const std::string what =
          fmt::format("rms_norm {}/{} [{}, {}] gap {}", name_of(c.stream), name_of(c.compute), c.rows, c.width, c.gap);
      expect_reference_bits(what, [&](Kernels& kernels, TestTensors& m) {
        const Tensor x = m.filled(m.matrix(c.stream, c.rows, c.width, c.gap), "x");
        const Tensor gain = m.filled(m.vector(c.compute, c.width), "gain");
        const Tensor y = m.filled(m.matrix(c.compute, c.rows, c.width, c.gap), "y"), rstd = m.vector(kF, c.rows);
        kernels.rms_norm_forward({.x_NC = x, .gain_C = gain, .y_NC = y, .rstd_N = rstd});
        const Tensor dy = m.filled(m.matrix(c.compute, c.rows, c.width, c.gap), "dy");
        const Tensor dx = in_place ? dy : m.filled(m.matrix(c.stream, c.rows, c.width, c.gap), "dx");
        const Tensor dgain = m.filled(m.vector(kF, c.width), "dgain");
        kernels.rms_norm_backward({.x_NC = x,
                                   .gain_C = gain,
                                   .rstd_N = rstd,
                                   .dy_NC = dy,
                                   .dx_NC = dx,
                                   .dgain_C = dgain,
                                   .accumulate = !in_place});
        return std::vector<Tensor>{y, rstd, dx, dgain};
      });
    }
  }
}

TEST_F(RowWise, RopeOfAlignedAndWideHeads) {
  struct Case {
    DType type;
    std::int64_t rows, heads, width, gap;
  };
  for (const Case& c : {Case{kB, 130, 5, 128, 8}, Case{kB, 70, 1, 64, 0}, Case{kF, 66, 3, 64, 4},
                        Case{kB, 65, 40, 48, 16}, Case{kF, 3, 2, 4096, 0}, Case{kB, 3, 70, 128, 0}}) {
    for (const int mode : {0, 1, 2, 3}) {  // apart, in place, QK-norm, QK-norm with dx in place
      const std::string what =
          fmt::format("rope {} [{}, {}, {}] mode {}", name_of(c.type), c.rows, c.heads, c.width, mode);
      expect_reference_bits(what, [&](Kernels& kernels, TestTensors& m) {
        std::vector<std::int32_t> positions;
        for (std::int64_t n = 0; n < c.rows; ++n) positions.push_back(static_cast<std::int32_t>((n * 5) % 11));
        const Tensor position = m.integers(positions);
        const Tensor cos = m.filled(m.matrix(kF, 11, c.width / 2), "cos", 1);
        const Tensor sin = m.filled(m.matrix(kF, 11, c.width / 2), "sin", 1);
        const Tensor gain = mode >= 2 ? m.filled(m.vector(c.type, c.width), "gain") : Tensor();
        const Tensor x = m.filled(m.heads(c.type, c.rows, c.heads, c.width, c.gap), "x");
        const Tensor y = mode == 1 ? x : m.filled(m.heads(c.type, c.rows, c.heads, c.width, c.gap), "y");
        const Tensor rstd = m.filled(m.matrix(kF, c.rows, c.heads, 2), "rstd");
        kernels.rope_forward({.x_NHD = x,
                              .y_NHD = y,
                              .position_N = position,
                              .cos_PE = cos,
                              .sin_PE = sin,
                              .gain_D = gain,
                              .rstd_NH = rstd});
        const Tensor dy = m.filled(m.heads(c.type, c.rows, c.heads, c.width, c.gap), "dy");
        const Tensor dx = mode % 2 == 1 ? dy : m.filled(m.heads(c.type, c.rows, c.heads, c.width, c.gap), "dx");
        const Tensor dgain = m.filled(m.vector(kF, c.width), "dgain");
        kernels.rope_backward({.dy_NHD = dy,
                               .dx_NHD = dx,
                               .position_N = position,
                               .cos_PE = cos,
                               .sin_PE = sin,
                               .x_NHD = x,
                               .gain_D = gain,
                               .rstd_NH = rstd,
                               .dgain_D = dgain});
        return std::vector<Tensor>{y, rstd, dx, dgain};
      });
    }
  }
}

}  // namespace
}  // namespace baekji
