#pragma once
// ImplementationProfile: in what trainers differ that run the same model on the same devices. Ours follows from this
// repository (docs/parallel.md, docs/cuda.md); the peers' from their papers and documents. docs/planner.md gives the
// sources.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baekji {

/// Of a peer's memory (plan/peer_memory.h). Ours is planned by the trainer.
struct MemoryFigures {
  double gradient_bytes = 2;            ///< of a parameter that the rank holds, with a divided optimizer
  double gradient_bytes_undivided = 4;  ///< without
  double optimizer_bytes = 12;          ///< fp32 weights and both moments
  bool keeps_dropout_masks = false;
  bool saves_inputs_in_8_bits = false;  ///< of products in fp8
  bool keeps_logits = true;             ///< of all tokens of a micro-batch
  bool selects_operations = false;      ///< selective recomputation keeps every second product's result
  double overhead_gib = 1;
};

struct ImplementationProfile {
  std::string name;

  // Arithmetic
  bool fused_attention = true;  ///< no square of scores in memory
  /// Share of the peak of the tensor instructions that Ampere has too, for attention kernels written with those; 0: the
  /// device's own figures hold (kernels of its vendor).
  double attention_forward_share = 0;
  double attention_backward_share = 0;
  double row_ramp = 0;          ///< rows at which a matrix product reaches half of its speed
  double column_ramp = 0;       ///< the same for columns
  double pointwise = 1;         ///< bytes of what is not a matrix product, over those of fused kernels
  double operation_gap_us = 0;  ///< idle time around an operation that the host launches late
  double accumulate_bytes = 8;  ///< for a parameter and micro-batch: adding a weight gradient to its sum
  double replica_bytes = 0;     ///< for a parameter and replica: into fixed point
  double optimizer_bytes = 30;  ///< for a parameter that the rank updates

  // Communication
  double domain_share = 0.8;     ///< of a domain's bandwidth that collectives reach
  double network_share = 0.8;    ///< of the network's
  double tensor_hidden = 0;      ///< share of tensor exchanges that runs beside products
  bool gradients_hidden = true;  ///< beside the last backward pass
  bool weights_hidden = true;    ///< beside the next forward pass
  std::int64_t hidden_zero = 3;  ///< both up to this division of state, and not beyond
  double contention = 0;         ///< of what is hidden, the share that it still costs
  double gradient_wire_bytes = 4;
  bool all_reduces_gradients = false;  ///< instead of a reduce_scatter
  bool gathers_layers = false;         ///< weights come layer by layer (zero 3, FSDP)
  bool splits_tokens = true;           ///< norms and the residual stream are divided among tensor ranks

  MemoryFigures memory;

  bool is_ours() const { return name == "baekji"; }
};

/// "baekji", "megatron" (Megatron Core with Transformer Engine), "megatron-2021" (Narayanan 2021, Korthikanti 2022 and
/// Megatron-DeepSpeed), "megatron-fsdp", "fsdp" (PyTorch, torchtitan), "fsdp-2023" (MPT's). Throws, naming the nearest.
const ImplementationProfile& implementation_profile(std::string_view name);
const std::vector<ImplementationProfile>& implementation_profiles();

}  // namespace baekji
