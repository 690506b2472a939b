#include "plan/device_cost.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace baekji {
namespace {

// What a product reaches over hours of training, over the best that a benchmark of seconds shows: power and heat lower
// the clock. One figure for all devices; what is left of it for a group of rows stands in docs/planner.md.
constexpr double kSustained = 0.85;
// Of the memory's bandwidth that a kernel of long rows reaches.
constexpr double kStreamed = 0.85;
// Attention reaches half of its speed at such a sequence: the diagonal's blocks are computed whole.
constexpr double kAttentionRamp = 512;
// The tensor instructions of Ampere (mma.sync) on a later device, over that device's own peak (FlashAttention-2 on
// H100: 335 of 989 TFLOP/s where A100 shows 190 of 312).
constexpr double kAmpereInstructions = 0.62;
constexpr double kAmperePeakTflops = 312;
// Blackwell's has not grown so with its peak.
constexpr double kMostAmpereInstructionsTflops = 1130;
// Head widths that are no multiple of 8 leave the tensor cores; narrower heads than 128 fill them less well.
constexpr double kMisaligned = 10;
constexpr double kNarrowHead = 1.25;
// Of a product's speed that a batch of small ones reaches, when scores are in memory.
constexpr double kBatchedProducts = 0.6;

struct Tile {
  double rows, columns, share;
};
// Blocks of the result that one multiprocessor computes, and the share of its speed that each reaches.
constexpr std::array<Tile, 5> kTiles{{{256, 128, 1}, {128, 256, 1}, {128, 128, 0.95}, {128, 64, 0.8}, {64, 64, 0.6}}};

double bytes_of(Precision precision) {
  switch (precision) {
    case Precision::kFloat32:
      return 4;
    case Precision::kBfloat16:
      return 2;
    case Precision::kFloat8:
      return 1;
    case Precision::kFloat4:
      return 0.5;
  }
  return 2;
}

const char* name_of(Precision precision) {
  constexpr std::array<const char*, 4> kNames{"fp32", "bf16", "fp8", "fp4"};
  return kNames[static_cast<std::size_t>(precision)];
}

// Filling and draining a tile's pipeline takes a time, so in units of the inner extent the more, the faster a
// multiprocessor is: 256 for H100 in bf16 (6 TFLOP/s each).
constexpr double kRampPerTflops = 256 / 6.0;

// The share of all multiprocessors' time that computes results: the last wave of tiles is rarely full.
double tiled_share(const ProductShape& shape, double processors) {
  double best = 0;
  for (const Tile& tile : kTiles) {
    const double tiles = std::ceil(shape.rows / tile.rows) * std::ceil(shape.columns / tile.columns);
    const double useful = shape.rows * shape.columns / (tile.rows * tile.columns);
    best = std::max(best, useful / (std::ceil(tiles / processors) * processors) * tile.share);
  }
  return best;
}

}  // namespace

DeviceCost::DeviceCost(const Cluster& cluster, const ImplementationProfile& profile, Precision precision)
    : device_(cluster.device), profile_(profile), precision_(precision) {
  if (ceiling(precision) > 0) return;
  throw Error("the device has no matrix products in this precision")
      .values(fmt::format("device.{}_matmul_tflops above 0", name_of(precision)), "0")
      .at(cluster.place)
      .hint("choose another numerics.precision, or give the figure and its source");
}

double DeviceCost::ceiling(Precision precision) const {
  const std::array<double, 4> tflops{device_.fp32_matmul_tflops, device_.bf16_matmul_tflops, device_.fp8_matmul_tflops,
                                     device_.fp4_matmul_tflops};
  return tflops[static_cast<std::size_t>(precision)] * 1e12;
}

double DeviceCost::product_s(const ProductShape& s, Precision precision) const {
  double seconds = 2 * s.rows * s.columns * s.inner / (ceiling(precision) * kSustained);
  if (device_.kind == "cuda") {
    const auto processors = static_cast<double>(device_.processors);
    seconds /= tiled_share(s, processors);
    seconds *= 1 + kRampPerTflops * ceiling(precision) * 1e-12 / processors / s.inner;
  }
  seconds *= (1 + profile_.row_ramp / s.rows) * (1 + profile_.column_ramp / s.columns);
  const double bytes = (s.rows + s.columns) * s.inner * bytes_of(precision) + s.rows * s.columns * 2;
  return std::max(seconds, bytes_inside_s(bytes)) + device_.launch_us * 1e-6;
}

double DeviceCost::product_16_s(const ProductShape& shape) const {
  return product_s(shape, std::min(precision_, Precision::kBfloat16));
}

double DeviceCost::bytes_inside_s(double bytes) const {
  return bytes / (device_.memory_gb_s * 1e9 * kStreamed);
}

double DeviceCost::bytes_s(double bytes) const {
  return bytes_inside_s(bytes) + device_.launch_us * 1e-6;
}

// Scores that go through memory: `products` of queries with keys (or scores with values), the whole square.
double DeviceCost::score_products_s(const AttentionShape& s, double products) const {
  const double square = s.queries * s.sequence * s.heads;
  const bool aligned = std::fmod(s.head_width, 8) == 0;
  const double flops = 2 * square * std::max(s.head_width, 64.0) * (aligned ? 1 : kMisaligned);
  const double arithmetic = flops / (ceiling(std::min(precision_, Precision::kBfloat16)) * kBatchedProducts);
  return products * std::max(arithmetic, bytes_s(2 * square));
}

// Half of the square is computed.
double DeviceCost::fused_attention_s(const AttentionShape& s, double figure_tflops, double share,
                                     double products) const {
  double tflops = figure_tflops;
  if (tflops == 0) tflops = ceiling(std::min(precision_, Precision::kBfloat16)) * 1e-12;
  if (share > 0) {
    const double later = kAmpereInstructions * std::min(device_.bf16_tflops, kMostAmpereInstructionsTflops);
    tflops = std::min(tflops, share * std::max(later, kAmperePeakTflops));
  }
  const double ramp = (1 + kAttentionRamp / s.sequence) * (s.head_width < 128 ? kNarrowHead : 1);
  return products * s.queries * s.sequence * s.heads * s.head_width / (tflops * 1e12 * kSustained) * ramp;
}

double DeviceCost::attention_forward_s(const AttentionShape& s) const {
  const double square = s.queries * s.sequence * s.heads;
  // Scale, mask and softmax read and write the scores; dropout reads, writes, and writes a mask.
  if (!profile_.fused_attention) return score_products_s(s, 2) + bytes_s(4 * square) + bytes_s(5 * square);
  return fused_attention_s(s, device_.attention_forward_tflops, profile_.attention_forward_share, 2) +
         device_.launch_us * 1e-6;
}

double DeviceCost::attention_backward_s(const AttentionShape& s) const {
  const double square = s.queries * s.sequence * s.heads;
  if (!profile_.fused_attention) return score_products_s(s, 4) + bytes_s(6 * square) + bytes_s(5 * square);
  return fused_attention_s(s, device_.attention_backward_tflops, profile_.attention_backward_share, 5) +
         2 * device_.launch_us * 1e-6;
}

}  // namespace baekji
