#include "plan/profile.h"

#include <algorithm>

#include "core/config.h"
#include "core/error.h"

namespace baekji {
namespace {

// Ours: gradients travel as 64-bit integers; with zero 2 and 3 few buckets are under way at once (docs/parallel.md).
ImplementationProfile own_profile() {
  return {.name = "baekji",
          .accumulate_bytes = 8,
          .replica_bytes = 20,
          .optimizer_bytes = 34,
          .hidden_zero = 1,
          .contention = 0.1,
          .gradient_wire_bytes = 8};
}

// Transformer Engine's fused kernels and userbuffers (tensor exchanges beside products), distributed optimizer with
// overlap of both its collectives.
ImplementationProfile megatron_profile() {
  return {.name = "megatron",
          .tensor_hidden = 0.6,
          .contention = 0.1,
          .memory = {.saves_inputs_in_8_bits = true, .overhead_gib = 1}};
}

// Scores in memory (fused softmax), cuBLAS of 2021, collectives that wait, NCCL of that time. The ramps and shares are
// fitted to all rows of the BLOOM chronicle together (docs/planner.md).
ImplementationProfile megatron_2021_profile() {
  return {.name = "megatron-2021",
          .fused_attention = false,
          .row_ramp = 600,
          .column_ramp = 1400,
          .operation_gap_us = 1.5,
          .accumulate_bytes = 6,
          .domain_share = 0.5,
          .network_share = 0.3,
          .gradients_hidden = false,
          .weights_hidden = false,
          .gradient_wire_bytes = 2,
          .all_reduces_gradients = true,
          .splits_tokens = false,
          .memory = {.keeps_dropout_masks = true, .keeps_logits = false, .overhead_gib = 8}};
}

ImplementationProfile megatron_fsdp_profile() {
  return {.name = "megatron-fsdp",
          .accumulate_bytes = 0,
          .contention = 0.1,
          .gradient_wire_bytes = 2,
          .gathers_layers = true,
          .memory = {.saves_inputs_in_8_bits = true, .overhead_gib = 1}};
}

// FlashAttention-2 (Dao 2023: 190 of 312 TFLOP/s on A100, 335 on H100), kernels of a compiler or of eager mode.
ImplementationProfile fsdp_profile() {
  return {.name = "fsdp",
          .attention_forward_share = 0.55,
          .attention_backward_share = 0.47,
          .pointwise = 1.5,
          .operation_gap_us = 2,
          .accumulate_bytes = 0,
          .contention = 0.2,
          .gradient_wire_bytes = 2,
          .gathers_layers = true,
          .memory = {.selects_operations = true, .overhead_gib = 2}};
}

// The first FlashAttention (Dao 2022), as MPT's llm-foundry had it.
ImplementationProfile fsdp_2023_profile() {
  ImplementationProfile profile = fsdp_profile();
  profile.name = "fsdp-2023";
  profile.attention_forward_share = 0.47;
  profile.attention_backward_share = 0.42;
  return profile;
}

}  // namespace

const std::vector<ImplementationProfile>& implementation_profiles() {
  static const std::vector<ImplementationProfile> kProfiles{own_profile(),           megatron_profile(),
                                                            megatron_2021_profile(), megatron_fsdp_profile(),
                                                            fsdp_profile(),          fsdp_2023_profile()};
  return kProfiles;
}

const ImplementationProfile& implementation_profile(std::string_view name) {
  const std::vector<ImplementationProfile>& all = implementation_profiles();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == name; });
  if (found != all.end()) return *found;
  std::vector<std::string> names;
  for (const ImplementationProfile& p : all) names.push_back(p.name);
  throw Error("there is no such implementation profile")
      .values(fmt::format("one of {}", fmt::join(names, ", ")), std::string(name))
      .hint(did_you_mean(name, names));
}

}  // namespace baekji
