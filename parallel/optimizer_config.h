#pragma once
// [optimizer]: AdamW, clipping, and the learning rate as a pure function of the step. Part of the contract.

#include <cstdint>
#include <string>
#include <vector>

namespace baekji {

struct OptimizerConfig {
  std::string kind = "adamw";
  double lr = 3e-4;
  std::vector<double> betas{0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;
  std::string schedule = "cosine";
  std::int64_t warmup = 100;
  std::int64_t stable = 0;
  std::int64_t decay = 1000;
  double min_lr_ratio = 0.1;

  template <class V>
  void visit(V& v) {
    v.choice("kind", kind, {"adamw"}, "optimizer");
    v.field("lr", lr, "peak learning rate");
    v.field("betas", betas, "decay of the first and second moment");
    v.field("eps", eps, "added to the root of the second moment");
    v.field("weight_decay", weight_decay, "decoupled decay; never on norms and embeddings");
    v.field("clip", clip, "largest global gradient norm; 0 turns clipping off");
    v.choice("schedule", schedule, {"cosine", "wsd"}, "learning-rate schedule after warm-up");
    v.field("warmup", warmup, "steps of linear warm-up");
    v.field("stable", stable, "steps at the peak before the decay (wsd only)");
    v.field("decay", decay, "steps of decay to min_lr_ratio * lr");
    v.field("min_lr_ratio", min_lr_ratio, "final learning rate as a share of lr");
  }
};

void validate(const OptimizerConfig& config, const std::string& place);

/// The learning rate of `step` (1, 2, ...): linear from lr / warmup to lr over `warmup` steps, then
/// cosine: half a cosine to min_lr_ratio * lr over `decay` steps (Loshchilov and Hutter 2017, SGDR);
/// wsd: `stable` steps at lr, then linearly to min_lr_ratio * lr over `decay` steps (Hu et al. 2024, MiniCPM);
/// and constant afterwards. fp64, without libm.
double learning_rate(const OptimizerConfig& config, std::int64_t step);

}  // namespace baekji
