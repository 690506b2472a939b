// GFLOP/s of causal attention, counting only the products that the causal mask leaves.

#include <fmt/format.h>

#include <cmath>

#include "bench/bench.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/ceiling.h"

namespace baekji::bench {
namespace {

struct AttentionSize {
  std::string name;
  std::int64_t sequences = 0;
  std::int64_t context = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
};

void run_size(const AttentionSize& s, DType type, double ceiling, const Options& options, ThreadPool& pool) {
  Tensors memory;
  const std::int64_t rows = s.sequences * s.context;
  const std::int64_t q = s.heads * s.head_dim;
  const std::int64_t k = s.kv_heads * s.head_dim;
  const Tensor qkv = memory.make(type, {rows, q + 2 * k});
  const Tensor dqkv = memory.make(type, {rows, q + 2 * k});
  const auto part = [&](const Tensor& x, std::int64_t begin, std::int64_t heads) {
    return x.columns(begin, heads * s.head_dim).split_last(heads).split_first(s.sequences);
  };
  const Tensor y = part(memory.make(type, {rows, q}), 0, s.heads);
  const Tensor dy = part(memory.make(type, {rows, q}), 0, s.heads);
  const Tensor lse = memory.make(DType::kFloat32, {s.sequences, s.heads, s.context});
  const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  CpuAttention attention(pool);
  const AttentionForwardArgs forward{.q_BTHD = part(qkv, 0, s.heads),
                                     .k_BTKD = part(qkv, q, s.kv_heads),
                                     .v_BTKD = part(qkv, q + k, s.kv_heads),
                                     .y_BTHD = y,
                                     .lse_BHT = lse,
                                     .scale = scale};
  const AttentionBackwardArgs backward{.q_BTHD = forward.q_BTHD,
                                       .k_BTKD = forward.k_BTKD,
                                       .v_BTKD = forward.v_BTKD,
                                       .y_BTHD = y,
                                       .lse_BHT = lse,
                                       .dy_BTHD = dy,
                                       .dq_BTHD = part(dqkv, 0, s.heads),
                                       .dk_BTKD = part(dqkv, q, s.kv_heads),
                                       .dv_BTKD = part(dqkv, q + k, s.kv_heads),
                                       .scale = scale};
  const std::vector<double> best =
      best_times_s({[&] { attention.forward(forward); }, [&] { attention.backward(backward); }}, options);
  const double pairs = static_cast<double>(s.context) * static_cast<double>(s.context) / 2;
  const double gflop = 4e-9 * pairs * static_cast<double>(s.head_dim * s.heads * s.sequences);
  const double both = 3.5 * gflop / (best[0] + best[1]);
  fmt::print("  {:<26}{:<6}{:>10.1f}{:>10.1f}{:>10.1f}{:>9.0f}%\n", s.name, name_of(type), gflop / best[0],
             2.5 * gflop / best[1], both, 100e9 * both / ceiling);
}

}  // namespace

void run_attention_bench(const Options& options, ThreadPool& pool) {
  const double ceiling = measure_matmul_ceiling(pool, DType::kFloat32);
  fmt::print(
      "\nCausal attention: GFLOP/s (causal products only), and both passes as a share of the fp32 matmul ceiling\n");
  fmt::print("  {:<26}{:<6}{:>10}{:>10}{:>10}{:>10}\n", "", "", "forward", "backward", "both", "share");
  const AttentionSize sizes[] = {
      {.name = "10M: B16 T256 H8 D32", .sequences = 16, .context = 256, .heads = 8, .kv_heads = 8, .head_dim = 32},
      {.name = "50M: B8 T512 H8 D64", .sequences = 8, .context = 512, .heads = 8, .kv_heads = 8, .head_dim = 64},
      {.name = "B2 T2048 H8/2 D128", .sequences = 2, .context = 2048, .heads = 8, .kv_heads = 2, .head_dim = 128}};
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    for (const AttentionSize& size : sizes) run_size(size, type, ceiling, options, pool);
  }
}

}  // namespace baekji::bench
