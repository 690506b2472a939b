// GFLOP/s of every linear layer of two model sizes, ours against oneDNN with its own threads, and what that means for a
// step.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bench/bench.h"
#include "bench/onednn_matmul.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cpu/matmul.h"

namespace baekji::bench {
namespace {

enum Use : std::uint8_t { kForward, kInputGradient, kWeightGradient };
constexpr std::array<const char*, 3> kUseNames{"forward", "input gradient", "weight gradient"};

struct Times {
  double ours_s = 0;
  double plain_s = 0;
  double packed_s = 0;  ///< 0: not applicable
  double theirs_s() const { return packed_s > 0 ? std::min(plain_s, packed_s) : plain_s; }
};

MatmulArgs problem(Tensors& memory, const LinearLayer& layer, DType type, Use use) {
  const auto make = [&](std::int64_t rows, std::int64_t columns) { return memory.make(type, {rows, columns}); };
  switch (use) {
    case kForward:
      return {.a = make(layer.rows, layer.in),
              .b = make(layer.out, layer.in),
              .c = make(layer.rows, layer.out),
              .transpose_b = true,
              .b_is_weight = true};
    case kInputGradient:
      return {.a = make(layer.rows, layer.out),
              .b = make(layer.out, layer.in),
              .c = make(layer.rows, layer.in),
              .b_is_weight = true};
    case kWeightGradient:
      break;
  }
  return {.a = make(layer.rows, layer.out),
          .b = make(layer.rows, layer.in),
          .c = memory.make(DType::kFloat32, {layer.out, layer.in}),
          .transpose_a = true,
          .accumulate = true};
}

Times measure(const LinearLayer& layer, DType type, Use use, const Options& options, ThreadPool& pool) {
  Tensors memory;
  const MatmulArgs args = problem(memory, layer, type, use);
  // fp32 where the library has no bf16 products.
  const MatmulArgs theirs = problem(memory, layer, library_matmul_type(type), use);
  CpuMatmul ours(pool);
  OnednnMatmul plain(theirs, false, options.threads);
  OnednnMatmul packed(theirs, use != kWeightGradient, options.threads);
  const std::vector<double> best =
      best_times_s({[&] { ours.run(args); }, [&] { plain.run(); }, [&] { packed.run(); }}, options);
  return {.ours_s = best[0], .plain_s = best[1], .packed_s = use == kWeightGradient ? 0 : best[2]};
}

void run_model(const ModelSize& model, DType type, const Options& options, ThreadPool& pool) {
  fmt::print("\n{} model, {}: GFLOP/s (best of {})\n", model.name, name_of(type), options.rounds);
  fmt::print("  {:<10}{:<17}{:>6} x {:<6}{:>10}{:>14}{:>10}{:>8}\n", "weight", "use", "out", "in", "baekji",
             fmt::format("oneDNN {}", name_of(library_matmul_type(type))), "packed", "ratio");
  Times step;
  for (const LinearLayer& layer : model.layers) {
    for (const Use use : {kForward, kInputGradient, kWeightGradient}) {
      const Times t = measure(layer, type, use, options, pool);
      const double gflop = 2e-9 * static_cast<double>(layer.rows * layer.in * layer.out);
      fmt::print("  {:<10}{:<17}{:>6} x {:<6}{:>10.1f}{:>14.1f}{:>10}{:>8.2f}\n", layer.name, kUseNames[use], layer.out,
                 layer.in, gflop / t.ours_s, gflop / t.plain_s,
                 t.packed_s > 0 ? fmt::format("{:.1f}", gflop / t.packed_s) : "-", t.theirs_s() / t.ours_s);
      step.ours_s += static_cast<double>(layer.times) * t.ours_s;
      step.plain_s += static_cast<double>(layer.times) * t.theirs_s();
    }
  }
  const auto tokens = static_cast<double>(model.tokens);
  fmt::print("  matmul bound of a step: {:.0f} tokens/s; {:.0f} with the faster oneDNN of each line\n",
             tokens / step.ours_s, tokens / step.plain_s);
}

}  // namespace

void run_matmul_bench(const Options& options, ThreadPool& pool) {
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    for (const ModelSize& model : model_sizes()) run_model(model, type, options, pool);
  }
}

}  // namespace baekji::bench
