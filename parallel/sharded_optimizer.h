#pragma once
// ShardedOptimizer: gradient norm, clipping and AdamW over the chunks that this rank owns.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/logical_tensor.h"
#include "kernels/kernels.h"
#include "parallel/chunk_index.h"
#include "parallel/optimizer_config.h"
#include "parallel/parameter_store.h"

namespace baekji {

/// What one optimizer step did. A void step changed no weight and no moment.
struct StepOutcome {
  bool is_void = false;
  std::string void_parameter;  ///< the first parameter (by name) whose gradient was not finite or out of range
  double gradient_norm = 0;    ///< of the mean gradient, before clipping; 0 when void
  double move = 0;             ///< Euclidean norm of the change of all master weights; 0 when void
};

class ShardedOptimizer {
 public:
  /// Binds both moments to `arena`. `store` must outlive the optimizer.
  ShardedOptimizer(const OptimizerConfig& config, ParameterStore& store, Kernels& kernels, Arena& arena);

  struct StepArgs {
    double learning_rate = 0;
    std::int64_t update = 1;         ///< 1 for the first update that is not void: the exponent of bias correction
    std::int64_t global_tokens = 1;  ///< divides the un-normalised gradient sum
  };
  /// Norm, clip and update from the store's gradient sums. Collective on `world`: every rank gets the same outcome, the
  /// one of a single rank.
  StepOutcome step(const StepArgs& args, Communicator& world);

  /// Gradient norm of each parameter of the model, from the last step's sums (mean gradient, before clipping).
  std::map<std::string, double> gradient_norms() const;
  /// Euclidean norm of each parameter's master weights. Collective on `world`.
  std::map<std::string, double> weight_norms(Communicator& world) const;

  /// The state that this rank updates, sorted by (name, slice, begin).
  std::span<const StateShard> shards() const { return shards_; }

 private:
  struct Moments {
    Tensor first;
    Tensor second;
  };
  GradientSource gradient_source(const ParameterSlice& slice, double scale) const;
  void measure(double scale);
  std::string void_parameter(Communicator& world) const;
  std::map<std::string, double> norms(std::span<const double> squares) const;

  OptimizerConfig config_;
  ParameterStore& store_;
  Kernels& kernels_;
  std::vector<Moments> moments_;            // by what the store owns
  std::vector<StateShard> shards_;          // the same
  std::vector<SquareSumArgs> square_args_;  // by chunk; reused, so that no step allocates
  std::vector<SquareSum> squares_;
  std::vector<std::size_t> chunk_part_;  // of what the store owns, for each chunk
  ChunkIndex index_;
  std::vector<std::int64_t> chunk_place_;  // of each chunk in the whole model
  std::vector<double> all_squares_;        // one per chunk of the whole model
  std::vector<AdamwArgs> adamw_args_;
  std::vector<double> square_moves_;  // by chunk, of the last update
  std::vector<double> all_moves_;     // one per chunk of the whole model
};

}  // namespace baekji
