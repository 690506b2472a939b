#include "parallel/sharded_optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/functions.h"
#include "core/state_values.h"

namespace baekji {

namespace {

// Every chunk has one value, which the ranks that hold it agree on: the largest, where the others put the least there
// is.
void complete(std::vector<double>& by_chunk, Communicator& world) {
  world.all_reduce(Tensor(by_chunk.data(), DType::kFloat64, {static_cast<std::int64_t>(by_chunk.size())}),
                   ReduceOp::kMax);
}

constexpr double kAbsent = -1;  // less than any sum of squares

// From the squares of all chunks of the model, in their order. Devices disagree about the sign of a NaN: it has none.
double norm_of(std::span<const double> squares) {
  double sum = 0;
  for (const double square : squares) sum += square;
  return std::isnan(sum) ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(sum);
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(const OptimizerConfig& config, ParameterStore& store, Kernels& kernels, Arena& arena)
    : config_(config), store_(store), kernels_(kernels), index_(store) {
  for (const ParameterSlice& part : store.owned()) {
    moments_.push_back({arena.allocate("optimizer moments", DType::kFloat32, {part.count}),
                        arena.allocate("optimizer moments", DType::kFloat32, {part.count})});
    shards_.push_back({.tensor = &part.spec->logical,
                       .initialisation = part.spec->initialisation,
                       .slice = part.slice,
                       .begin = part.begin,
                       .count = part.count,
                       .values = {part.master.device_as<float>(), moments_.back().first.device_as<float>(),
                                  moments_.back().second.device_as<float>()},
                       .device = arena.device()});
    for (std::int64_t begin = 0; begin < part.count; begin += kChunkElements) {
      square_args_.push_back({.begin = begin, .count = std::min(kChunkElements, part.count - begin)});
      chunk_part_.push_back(moments_.size() - 1);
      chunk_place_.push_back(index_.chunk(part.spec->logical, part.slice, part.begin + begin));
    }
  }
  squares_.resize(square_args_.size());
  adamw_args_.resize(square_args_.size());
  square_moves_.resize(square_args_.size());
  all_squares_.resize(static_cast<std::size_t>(index_.chunks()));
  all_moves_.resize(all_squares_.size());
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
    square_args_[c].gradient = gradient_source(store_.owned()[chunk_part_[c]], scale);
  }
  kernels_.square_sums(square_args_, squares_);
}

// The first parameter by name in which any rank found an unusable gradient; empty: none did.
std::string ShardedOptimizer::void_parameter(Communicator& world) const {
  std::string mine = store_.invalid_parameter();
  for (std::size_t c = 0; c < squares_.size(); ++c) {
    const std::string& name = store_.owned()[chunk_part_[c]].spec->logical.name;
    if (!squares_[c].valid && (mine.empty() || name < mine)) mine = name;
  }
  // The earliest name is the largest number.
  std::int64_t verdict = mine.empty() ? 0 : index_.names() - index_.name_index(mine);
  world.all_reduce(Tensor(&verdict, DType::kInt64, {1}), ReduceOp::kMax);
  return verdict == 0 ? std::string() : index_.name(index_.names() - verdict);
}

StepOutcome ShardedOptimizer::step(const StepArgs& args, Communicator& world) {
  const double scale = std::ldexp(1.0, store_.unit_exponent()) / static_cast<double>(args.global_tokens);
  measure(scale);
  StepOutcome outcome{.void_parameter = void_parameter(world)};
  outcome.is_void = !outcome.void_parameter.empty();
  std::fill(all_squares_.begin(), all_squares_.end(), kAbsent);
  for (std::size_t c = 0; c < squares_.size(); ++c)
    all_squares_[static_cast<std::size_t>(chunk_place_[c])] = squares_[c].sum;
  complete(all_squares_, world);
  if (outcome.is_void) return outcome;
  outcome.gradient_norm = norm_of(all_squares_);

  const double clip =
      config_.clip > 0 && outcome.gradient_norm > config_.clip ? config_.clip / outcome.gradient_norm : 1.0;
  for (std::size_t c = 0; c < square_args_.size(); ++c) {
    const ParameterSlice& slice = store_.owned()[chunk_part_[c]];
    const Moments& moments = moments_[chunk_part_[c]];
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
  kernels_.adamw(adamw_args_, square_moves_);
  store_.weights_updated();
  std::fill(all_moves_.begin(), all_moves_.end(), kAbsent);
  for (std::size_t c = 0; c < square_moves_.size(); ++c)
    all_moves_[static_cast<std::size_t>(chunk_place_[c])] = square_moves_[c];
  complete(all_moves_, world);
  outcome.move = norm_of(all_moves_);
  return outcome;
}

std::map<std::string, double> ShardedOptimizer::norms(std::span<const double> squares) const {
  std::map<std::string, double> result;
  for (std::int64_t i = 0; i < index_.names(); ++i) {
    const auto [first, end] = index_.chunks_of(i);
    double sum = 0;
    for (std::int64_t c = first; c < end; ++c) sum += squares[static_cast<std::size_t>(c)];
    result[index_.name(i)] = std::sqrt(sum);
  }
  return result;
}

std::map<std::string, double> ShardedOptimizer::gradient_norms() const {
  return norms(all_squares_);
}

std::map<std::string, double> ShardedOptimizer::weight_norms(Communicator& world) const {
  std::vector<double> squares(all_squares_.size(), kAbsent);
  std::vector<float> buffer;
  for (std::size_t c = 0; c < square_args_.size(); ++c) {
    double sum = 0;
    const StateRange range{
        .shard = shards_[chunk_part_[c]], .begin = square_args_[c].begin, .count = square_args_[c].count};
    for (const float master : read_values(range, buffer))
      sum += static_cast<double>(master) * static_cast<double>(master);
    squares[static_cast<std::size_t>(chunk_place_[c])] = sum;
  }
  complete(squares, world);
  return norms(squares);
}

}  // namespace baekji
