#include "plan/peer_memory.h"

#include "parallel/schedule_generators.h"
#include "plan/block_cost.h"
#include "plan/cluster.h"
#include "plan/step_forecast.h"

namespace baekji {
namespace {

constexpr double kHalf = 2;  // bytes of bf16 and fp16
// What a block that is computed again takes, in its activations: they, their gradients, and what its kernels work in.
constexpr double kRecomputedBlocks = 3;
// FSDP brings the next block's weights together while it computes one.
constexpr double kGatheredBlocks = 2;
// Logits, in fp16 or bf16, their fp32 copy, and the gradient of that.
constexpr double kLogitBytes = 2 + 4 + 4;

struct Held {
  double parameters = 0;   // of a rank: blocks and tables
  double live_layers = 0;  // layers, times the micro-batches that are alive on them at once
};

Held held_by(const Workload& w, std::int64_t pipeline_rank) {
  const ParallelLayout& l = w.layout;
  const std::int64_t ranks = l.pipeline;
  // Two rounds of a long schedule are enough for the most that live at once.
  std::int64_t micro_batches = w.micro_batches();
  const std::int64_t enough = 4 * ranks * l.virtual_stages;
  if (micro_batches > enough && ranks > 1) micro_batches = enough;
  const Schedule schedule =
      make_schedule(l.schedule, {.ranks = ranks, .virtual_stages = l.virtual_stages, .micro_batches = micro_batches});
  const std::vector<std::int64_t> layers = stage_layers(w);
  Held held;
  for (std::int64_t v = 0; v < l.virtual_stages; ++v) {
    const auto here = static_cast<double>(layers[static_cast<std::size_t>(stage_index(ranks, pipeline_rank, v))]);
    held.parameters += here * block_parameters_of_rank(w);
    held.live_layers += here;
  }
  // Stages of a rank have about as many layers each: the most of the whole rank counts, which is less than the sum of
  // its stages' most.
  held.live_layers *= static_cast<double>(schedule.peak_live(pipeline_rank)) / static_cast<double>(l.virtual_stages);
  if (pipeline_rank == 0) held.parameters += table_parameters_of_rank(w);
  if (pipeline_rank == ranks - 1 && (ranks > 1 || !w.model.tied_embeddings))
    held.parameters += table_parameters_of_rank(w);
  return held;
}

double states(const Workload& w, const ImplementationProfile& p, double parameters) {
  const MemoryFigures& m = p.memory;
  const auto ranks = static_cast<double>(w.layout.data * w.layout.context);
  const auto divided_from = [&](std::int64_t zero) {
    return w.layout.zero >= zero || p.gathers_layers ? 1 / ranks : 1.0;
  };
  const double gradient_bytes = w.layout.zero == 0 ? m.gradient_bytes_undivided : m.gradient_bytes;
  return parameters *
         (kHalf * divided_from(3) + gradient_bytes * divided_from(2) + m.optimizer_bytes * divided_from(1));
}

}  // namespace

double saved_bytes_per_token(const Workload& w, const ImplementationProfile& p) {
  const ModelShape& m = w.model;
  const auto hidden = static_cast<double>(m.hidden);
  const auto query = static_cast<double>(m.attention_width());
  const auto key_value = static_cast<double>(2 * m.kv_width());
  const auto ffn = static_cast<double>(m.ffn);
  const auto gate = static_cast<double>(m.gate);
  const auto tensor = static_cast<double>(w.layout.tensor);
  const double input = p.memory.saves_inputs_in_8_bits && w.precision >= Precision::kFloat8 ? 1 : kHalf;
  // What both norms read, what both products after them read, and two masks of dropout in bytes.
  const double outside = (2 * kHalf + 2 * input) * hidden + (p.memory.keeps_dropout_masks ? 2 * hidden : 0);
  // Queries, keys, values; attention's result, and as an input where that is another copy; gate and up, and what the
  // last product reads.
  const double attention = kHalf * (query + key_value) + (input < kHalf ? kHalf + input : kHalf) * query;
  const double feed_forward = (kHalf * gate + input) * ffn;
  // Scores, softmax and its dropped copy, with a mask in bytes.
  const bool scores = !p.fused_attention && w.layout.recompute == Recompute::kNone;
  const double square = scores ? 5 * static_cast<double>(m.heads) * static_cast<double>(w.sequence) : 0;
  return outside / (p.splits_tokens ? tensor : 1) + (attention + feed_forward + square) / tensor;
}

PeerMemory peer_memory(const Workload& w, const ImplementationProfile& p, std::int64_t pipeline_rank) {
  const Held held = held_by(w, pipeline_rank);
  const double tokens = static_cast<double>(w.micro_batch * w.sequence) / static_cast<double>(w.layout.context);
  const auto tensor = static_cast<double>(w.layout.tensor);
  const double stream = kHalf * static_cast<double>(w.model.hidden);
  const double block = saved_bytes_per_token(w, p);
  PeerMemory m{.states = states(w, p, held.parameters), .overhead = p.memory.overhead_gib * kBytesPerGib};
  if (w.layout.recompute == Recompute::kFull) {
    Workload whole = w;
    whole.layout.recompute = Recompute::kNone;  // the block that is computed again has its scores, too
    const double gathered = p.splits_tokens && tensor > 1 ? 4 * stream : 0;  // inputs and gradients of all tokens
    m.saved = stream / (p.splits_tokens ? tensor : 1) * tokens * held.live_layers;
    m.recomputed = tokens * (kRecomputedBlocks * saved_bytes_per_token(whole, p) + gathered);
  } else if (w.layout.recompute == Recompute::kSelective && p.memory.selects_operations) {
    // Every second product's result is kept.
    m.saved = (block / 2 + stream / tensor) * tokens * held.live_layers;
    m.recomputed = block * tokens;
  } else {
    m.saved = block * tokens * held.live_layers;
    if (p.memory.selects_operations) m.recomputed = block * tokens;
  }
  // With a pipeline the last rank has the logits, and fewer micro-batches alive.
  if (pipeline_rank == w.layout.pipeline - 1)
    m.logits = p.memory.keeps_logits ? kLogitBytes * tokens * static_cast<double>(w.model.vocab) / tensor : 0;
  if (p.gathers_layers) {
    m.gathered = 2 * kHalf * (kGatheredBlocks * block_parameters_of_rank(w) + table_parameters_of_rank(w));
  }
  return m;
}

}  // namespace baekji
