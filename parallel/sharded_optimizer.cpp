#include "parallel/sharded_optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/functions.h"

namespace baekji {

ShardedOptimizer::ShardedOptimizer(const OptimizerConfig& config, ParameterStore& store, Kernels& kernels, Arena& arena)
    : config_(config), store_(store), kernels_(kernels) {
  for (const ParameterSlice& slice : store.slices()) {
    const std::int64_t elements = slice.master.size();
    moments_.push_back({arena.allocate("optimizer moments", DType::kFloat32, {elements}),
                        arena.allocate("optimizer moments", DType::kFloat32, {elements})});
    shards_.push_back(
        {.tensor = &slice.spec->logical,
         .initialisation = slice.spec->initialisation,
         .slice = slice.slice,
         .begin = 0,
         .count = elements,
         .values = {slice.master.as<float>(), moments_.back().first.as<float>(), moments_.back().second.as<float>()}});
    for (std::int64_t begin = 0; begin < elements; begin += kChunkElements) {
      square_args_.push_back({.begin = begin, .count = std::min(kChunkElements, elements - begin)});
      chunk_slice_.push_back(moments_.size() - 1);
    }
  }
  squares_.resize(square_args_.size());
  adamw_args_.resize(square_args_.size());
}

GradientSource ShardedOptimizer::gradient_source(const ParameterSlice& slice, double scale) const {
  return {.partial = slice.partial,
          .contributions = slice.contributions,
          .unit_exponent = store_.unit_exponent(),
          .limit = store_.contribution_limit(slice),
          .scale = scale};
}

void ShardedOptimizer::measure(double scale) {
  for (std::size_t c = 0; c < square_args_.size(); ++c) {
    square_args_[c].gradient = gradient_source(store_.slices()[chunk_slice_[c]], scale);
  }
  kernels_.square_sums(square_args_, squares_);
}

StepOutcome ShardedOptimizer::fold_norm() const {
  StepOutcome outcome;
  outcome.void_parameter = store_.invalid_parameter();
  double sum = 0;
  for (std::size_t c = 0; c < squares_.size(); ++c) {
    if (!squares_[c].valid && outcome.void_parameter.empty()) {
      outcome.void_parameter = store_.slices()[chunk_slice_[c]].spec->logical.name;
    }
    sum += squares_[c].sum;
  }
  outcome.is_void = !outcome.void_parameter.empty();
  if (!outcome.is_void) outcome.gradient_norm = std::sqrt(sum);
  return outcome;
}

StepOutcome ShardedOptimizer::step(const StepArgs& args) {
  const double scale = std::ldexp(1.0, store_.unit_exponent()) / static_cast<double>(args.global_tokens);
  measure(scale);
  StepOutcome outcome = fold_norm();
  if (outcome.is_void) return outcome;

  const double clip =
      config_.clip > 0 && outcome.gradient_norm > config_.clip ? config_.clip / outcome.gradient_norm : 1.0;
  for (std::size_t c = 0; c < square_args_.size(); ++c) {
    const ParameterSlice& slice = store_.slices()[chunk_slice_[c]];
    const Moments& moments = moments_[chunk_slice_[c]];
    AdamwArgs& a = adamw_args_[c];
    a.gradient = square_args_[c].gradient;
    a.master = slice.master;
    a.moment1 = moments.first;
    a.moment2 = moments.second;
    a.weight = slice.weight.data() == slice.master.data() ? Tensor() : slice.weight;
    a.begin = square_args_[c].begin;
    a.count = square_args_[c].count;
    a.clip = static_cast<float>(clip);
    a.learning_rate = static_cast<float>(args.learning_rate);
    a.beta1 = static_cast<float>(config_.betas[0]);
    a.beta2 = static_cast<float>(config_.betas[1]);
    a.eps = static_cast<float>(config_.eps);
    a.weight_decay = slice.spec->decay ? static_cast<float>(config_.weight_decay) : 0.0F;
    a.correction1 = static_cast<float>(1.0 - power_f64(config_.betas[0], args.update));
    a.correction2 = static_cast<float>(1.0 - power_f64(config_.betas[1], args.update));
  }
  kernels_.adamw(adamw_args_);
  kernels_.weights_changed();
  return outcome;
}

std::map<std::string, double> ShardedOptimizer::gradient_norms() const {
  std::map<std::string, double> norms;
  for (std::size_t c = 0; c < squares_.size(); ++c)
    norms[store_.slices()[chunk_slice_[c]].spec->logical.name] += squares_[c].sum;
  for (auto& [name, value] : norms) value = std::sqrt(value);
  return norms;
}

std::map<std::string, double> ShardedOptimizer::weight_norms() const {
  std::map<std::string, double> norms;
  for (const StateShard& shard : shards_) {
    double sum = 0;
    const float* master = shard.values[static_cast<std::size_t>(StateKind::kMaster)];
    for (std::int64_t i = 0; i < shard.count; ++i)
      sum += static_cast<double>(master[i]) * static_cast<double>(master[i]);
    norms[shard.tensor->name] += sum;
  }
  for (auto& [name, value] : norms) value = std::sqrt(value);
  return norms;
}

}  // namespace baekji
