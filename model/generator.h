#pragma once
// Generation: one token after another from a trained model, with a key/value cache.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/random.h"
#include "model/transformer_stage.h"

namespace baekji {

/// How the next token is drawn from the logits.
struct SamplingOptions {
  double temperature = 1.0;  ///< 0: the most likely token
  double top_p = 1.0;        ///< nucleus sampling (Holtzman et al. 2020): the smallest set with this probability
  std::uint64_t seed = 0;
};

/// Draws token number `index` of a sequence. `logits_V` is overwritten. The same (options, index, logits) give the same
/// token; ties go to the lower id.
std::int32_t sample_token(std::span<float> logits_V, const SamplingOptions& options, std::uint64_t index);

class Generator {
 public:
  struct Args {
    Kernels& kernels;
    ParameterStore& parameters;
    const ModelConfig& model;
    const ModelParameters& declared;
    ElementTypes types;
    std::int64_t tensor_grains = 1;
    double rope_theta = 10000.0;
    std::int64_t positions = 0;  ///< prompt and output together
  };
  /// Binds caches and activations to `arena`; the references outlive the generator.
  Generator(const Args& args, Arena& arena);
  ~Generator();

  /// Continues `prompt` (not empty) until `count` tokens are made, `accept` returns false, or the positions are used
  /// up. accept(token) is told of each new token. Throws when the prompt alone fills the positions.
  void run(std::span<const std::int32_t> prompt, std::int64_t count, const SamplingOptions& options,
           const std::function<bool(std::int32_t)>& accept);

  /// Tells visit(i, logits_V) the logits that follow tokens[0..i], for each i. Throws when the tokens are none or more
  /// than the positions.
  void score(std::span<const std::int32_t> tokens,
             const std::function<void(std::size_t, std::span<const float>)>& visit);

 private:
  struct Width;  // a stage bound for a number of tokens at once
  void feed(Width& width, std::span<const std::int32_t> tokens);

  std::unique_ptr<Communicator> group_;
  std::unique_ptr<GrainTree> grains_;
  std::vector<KeyValueCache> caches_;
  std::unique_ptr<Width> prefill_;
  std::unique_ptr<Width> single_;
  std::int64_t positions_ = 0;
  std::int64_t cached_ = 0;
  std::vector<float> logits_V_;
};

}  // namespace baekji
