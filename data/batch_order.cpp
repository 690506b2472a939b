#include "data/batch_order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>

#include "core/random.h"
#include "core/types.h"

namespace baekji {
namespace {

constexpr std::int64_t kMaxStep = std::int64_t{1} << 40;
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 31;

std::int64_t checked_product(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw Error("the batch order counts more tokens than 63 bits hold")
        .values("a product below 2^63", fmt::format("{} * {}", a, b));
  }
  return product;
}

std::string stage_place(std::size_t stage) {
  return fmt::format("stage {}", stage + 1);
}

// Whole numbers of sequences per block in proportion to the weights: largest remainder, ties to the earlier source.
std::vector<std::int64_t> mixture_quotas(const std::vector<OrderSource>& sources, const std::vector<double>& weights,
                                         const std::string& place) {
  require_equal(sources.size(), weights.size(), "a stage must have one weight for each source", place);
  double sum = 0;
  for (std::size_t s = 0; s < weights.size(); ++s) {
    if (!std::isfinite(weights[s]) || weights[s] < 0) {
      throw Error("a source's weight must be a finite number, not negative")
          .values(">= 0", fmt::format("{}", weights[s]))
          .at(fmt::format("{}, source '{}'", place, sources[s].name));
    }
    sum = sum + weights[s];
  }
  if (!(sum > 0) || !std::isfinite(sum)) {
    throw Error("the weights of a stage must have a positive, finite sum")
        .values("> 0", fmt::format("{}", sum))
        .at(place);
  }
  std::vector<std::int64_t> quotas(weights.size());
  std::vector<double> remainders(weights.size());
  std::int64_t left = BatchOrder::kMixtureBlock;
  for (std::size_t s = 0; s < weights.size(); ++s) {
    const double share = weights[s] / sum * static_cast<double>(BatchOrder::kMixtureBlock);
    quotas[s] = static_cast<std::int64_t>(share);
    remainders[s] = share - static_cast<double>(quotas[s]);
    left -= quotas[s];
  }
  std::vector<std::size_t> by_remainder(weights.size());
  std::iota(by_remainder.begin(), by_remainder.end(), std::size_t{0});
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  // Rounding leaves between 0 and weights.size() - 1 sequences over; a source of weight zero never gets one.
  for (std::size_t i = 0; left > 0; i = (i + 1) % by_remainder.size()) {
    if (weights[by_remainder[i]] > 0) {
      quotas[by_remainder[i]] += 1;
      left -= 1;
    }
  }
  for (std::size_t s = 0; s < weights.size(); ++s) {
    if (weights[s] > 0 && quotas[s] == 0) {
      throw Error("a source's weight is too small to be drawn at all")
          .values(fmt::format(">= 1/{} of the sum of the weights", BatchOrder::kMixtureBlock),
                  fmt::format("{} of {}", weights[s], sum))
          .at(fmt::format("{}, source '{}'", place, sources[s].name))
          .hint("raise its weight, set it to 0, or merge the source with another");
    }
  }
  return quotas;
}

// The sequences of one mixture block in order: where each comes from, and how many of its source precede it there.
struct Slot {
  std::int32_t source = 0;
  std::int32_t rank = 0;
};
using BlockTable = std::vector<Slot>;

BlockTable make_block_table(std::uint64_t seed, int stage, std::int64_t block,
                            const std::vector<std::int64_t>& quotas) {
  std::vector<std::int32_t> source_of_card;
  source_of_card.reserve(static_cast<std::size_t>(BatchOrder::kMixtureBlock));
  for (std::size_t s = 0; s < quotas.size(); ++s) {
    source_of_card.insert(source_of_card.end(), static_cast<std::size_t>(quotas[s]), static_cast<std::int32_t>(s));
  }
  const KeyedPermutation shuffle("baekji.mixture", seed, fmt::format("stage {} block {}", stage, block),
                                 static_cast<std::uint64_t>(BatchOrder::kMixtureBlock));
  BlockTable table(source_of_card.size());
  std::vector<std::int32_t> seen(quotas.size(), 0);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::int32_t source = source_of_card[shuffle(i)];
    table[i] = {.source = source, .rank = seen[static_cast<std::size_t>(source)]++};
  }
  return table;
}

}  // namespace

struct BatchOrder::Plan {
  struct Stage {
    std::int64_t first_sequence = 0;   // sequences of all stages before
    std::vector<std::int64_t> quotas;  // by source
    std::vector<std::int64_t>
        base_tokens;  // by source: where the stage's first sequence starts; a multiple of the span
    std::vector<std::int64_t> drawn_tokens;  // by source: tokens that the stages before trained on
  };

  std::uint64_t seed = 0;
  std::vector<OrderSource> sources;
  std::vector<OrderStage> stages;
  std::vector<Stage> details;
  std::vector<std::int64_t> spans;  // per pass, by source
  std::int64_t span = 0;

  // Tables are a cache of a pure function: a lost race costs time, never a result.
  struct CachedBlock {
    int stage = -1;
    std::int64_t block = -1;
    std::shared_ptr<const BlockTable> table;
  };
  mutable std::mutex mutex;
  mutable std::array<CachedBlock, 8> cache;
  mutable std::size_t next_victim = 0;

  std::shared_ptr<const BlockTable> table(int stage, std::int64_t block) const {
    {
      const std::lock_guard lock(mutex);
      for (const CachedBlock& cached : cache) {
        if (cached.stage == stage && cached.block == block) return cached.table;
      }
    }
    auto made = std::make_shared<const BlockTable>(
        make_block_table(seed, stage, block, details[static_cast<std::size_t>(stage)].quotas));
    const std::lock_guard lock(mutex);
    cache[next_victim] = {.stage = stage, .block = block, .table = made};
    next_victim = (next_victim + 1) % cache.size();
    return made;
  }

  // Sequences of `source` among the first `count` of a stage.
  std::int64_t count_of_source(int stage, std::size_t source, std::int64_t count) const {
    const std::int64_t block = count / kMixtureBlock;
    std::int64_t result = checked_product(block, details[static_cast<std::size_t>(stage)].quotas[source]);
    if (count % kMixtureBlock == 0) return result;
    const auto slots = table(stage, block);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count % kMixtureBlock); ++i) {
      result += (*slots)[i].source == static_cast<std::int32_t>(source) ? 1 : 0;
    }
    return result;
  }

  std::int64_t sequences_in_stage(std::size_t stage, std::int64_t end_step) const {
    return checked_product(end_step - stages[stage].from_step, stages[stage].global_batch);
  }

  void check_sources();
  void check_stages();
  void lay_out_stages();
};

void BatchOrder::Plan::check_sources() {
  if (sources.empty()) throw Error("the batch order needs at least one source").values(">= 1", "0");
  for (std::size_t s = 0; s < sources.size(); ++s) {
    for (std::size_t other = 0; other < s; ++other) {
      if (sources[other].name == sources[s].name) {
        throw Error("two sources have the same name")
            .values("names that differ", sources[s].name)
            .at(fmt::format("sources {} and {}", other + 1, s + 1));
      }
    }
    const bool used =
        std::any_of(stages.begin(), stages.end(), [&](const OrderStage& st) { return st.weights[s] > 0; });
    spans.push_back(sources[s].train_tokens < 1 ? 0 : (sources[s].train_tokens - 1) / span);
    if (used && spans[s] == 0) {
      throw Error("a source has too few training tokens for one sequence of the longest context")
          .values(fmt::format(">= {}", span + 1), fmt::format("{}", sources[s].train_tokens))
          .at(fmt::format("source '{}'", sources[s].name))
          .hint("give the source more text, or shorten the context");
    }
  }
}

void BatchOrder::Plan::check_stages() {
  if (stages.empty()) throw Error("the batch order needs at least one stage").values(">= 1", "0");
  require_equal(std::int64_t{1}, stages[0].from_step, "the first stage must start at step 1", stage_place(0));
  for (std::size_t k = 0; k < stages.size(); ++k) {
    const OrderStage& stage = stages[k];
    if (k > 0 && (stage.from_step <= stages[k - 1].from_step || stage.from_step > kMaxStep)) {
      throw Error("stages must follow one another")
          .values(fmt::format("from_step > {}", stages[k - 1].from_step), fmt::format("{}", stage.from_step))
          .at(stage_place(k));
    }
    for (const auto& [name, value] : {std::pair{"context", stage.context}, {"global_batch", stage.global_batch}}) {
      if (value < 1 || value >= kMaxExtent) {
        throw Error(fmt::format("{} is out of range", name))
            .values(fmt::format("1..{}", kMaxExtent - 1), fmt::format("{}", value))
            .at(stage_place(k));
      }
    }
    require_equal(sources.size(), stage.weights.size(), "a stage must have one weight for each source", stage_place(k));
    span = std::max(span, stage.context);
  }
  for (std::size_t k = 0; k < stages.size(); ++k) {
    if (span % stages[k].context != 0) {
      throw Error("every stage's context must divide the longest one")
          .values(fmt::format("a divisor of {}", span), fmt::format("{}", stages[k].context))
          .at(stage_place(k))
          .hint("powers of two divide one another");
    }
  }
}

void BatchOrder::Plan::lay_out_stages() {
  std::vector<std::int64_t> base(sources.size(), 0);
  std::vector<std::int64_t> drawn(sources.size(), 0);
  std::int64_t first_sequence = 0;
  for (std::size_t k = 0; k < stages.size(); ++k) {
    details.push_back({.first_sequence = first_sequence,
                       .quotas = mixture_quotas(sources, stages[k].weights, stage_place(k)),
                       .base_tokens = base,
                       .drawn_tokens = drawn});
    if (k + 1 == stages.size()) break;
    const std::int64_t sequences = sequences_in_stage(k, stages[k + 1].from_step);
    first_sequence += sequences;
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const std::int64_t tokens =
          checked_product(count_of_source(static_cast<int>(k), s, sequences), stages[k].context);
      drawn[s] += tokens;
      base[s] += round_up(tokens, span);
    }
  }
}

BatchOrder::BatchOrder(std::uint64_t seed, std::vector<OrderSource> sources, std::vector<OrderStage> stages) {
  auto plan = std::make_shared<Plan>();
  plan->seed = seed;
  plan->sources = std::move(sources);
  plan->stages = std::move(stages);
  plan->check_stages();
  plan->check_sources();
  plan->lay_out_stages();
  plan_ = std::move(plan);
}

const std::vector<OrderSource>& BatchOrder::sources() const {
  return plan_->sources;
}
const std::vector<OrderStage>& BatchOrder::stages() const {
  return plan_->stages;
}
std::int64_t BatchOrder::span() const {
  return plan_->span;
}

int BatchOrder::stage_index(std::int64_t step) const {
  if (step < 1 || step > kMaxStep) {
    throw Error("no such step in the batch order").values(fmt::format("1..{}", kMaxStep), fmt::format("{}", step));
  }
  const auto after = std::upper_bound(plan_->stages.begin(), plan_->stages.end(), step,
                                      [](std::int64_t s, const OrderStage& stage) { return s < stage.from_step; });
  return static_cast<int>(after - plan_->stages.begin()) - 1;
}

const OrderStage& BatchOrder::stage(std::int64_t step) const {
  return plan_->stages[static_cast<std::size_t>(stage_index(step))];
}

std::int64_t BatchOrder::quota(int stage_index, int source) const {
  return plan_->details.at(static_cast<std::size_t>(stage_index)).quotas.at(static_cast<std::size_t>(source));
}

std::int64_t BatchOrder::spans_per_pass(int source) const {
  return plan_->spans.at(static_cast<std::size_t>(source));
}

SequencePosition BatchOrder::at(std::int64_t step, std::int64_t index) const {
  const Plan& plan = *plan_;
  const int k = stage_index(step);
  const OrderStage& stage = plan.stages[static_cast<std::size_t>(k)];
  if (index < 0 || index >= stage.global_batch) {
    throw Error("no such sequence in the step")
        .values(fmt::format("0..{}", stage.global_batch - 1), fmt::format("{}", index))
        .at(fmt::format("step {}", step));
  }
  const Plan::Stage& detail = plan.details[static_cast<std::size_t>(k)];
  const std::int64_t n = checked_product(step - stage.from_step, stage.global_batch) + index;
  const std::int64_t block = n / kMixtureBlock;
  const Slot slot = (*plan.table(k, block))[static_cast<std::size_t>(n % kMixtureBlock)];
  const auto s = static_cast<std::size_t>(slot.source);

  const std::int64_t ordinal = checked_product(block, detail.quotas[s]) + slot.rank;
  const std::int64_t offset = detail.base_tokens[s] + checked_product(ordinal, stage.context);
  const std::int64_t spans = plan.spans[s];
  const std::int64_t pass = (offset / plan.span) / spans;
  const auto span_in_pass = static_cast<std::uint64_t>((offset / plan.span) % spans);

  const OrderSource& source = plan.sources[s];
  const KeyedPermutation shuffle("baekji.spans", plan.seed, fmt::format("pass {}/{}", pass, source.name),
                                 static_cast<std::uint64_t>(spans));
  // Each pass cuts the source at another phase: the tokens left over at the end of one pass are inside the next.
  const auto slack = static_cast<std::uint64_t>(source.train_tokens - 1 - spans * plan.span);
  const std::uint64_t phase =
      RandomStream("baekji.phase", plan.seed, source.name).below(static_cast<std::uint64_t>(pass), slack + 1);
  return {.source = slot.source,
          .pass = pass,
          .begin = static_cast<std::int64_t>(phase + shuffle(span_in_pass) * static_cast<std::uint64_t>(plan.span)) +
                   offset % plan.span,
          .length = stage.context};
}

std::int64_t BatchOrder::data_position(std::int64_t step) const {
  if (step == 0) return 0;
  const auto k = static_cast<std::size_t>(stage_index(step));
  return plan_->details[k].first_sequence + plan_->sequences_in_stage(k, step + 1);
}

std::int64_t BatchOrder::tokens_drawn(std::int64_t step) const {
  std::int64_t tokens = 0;
  for (std::size_t s = 0; s < plan_->sources.size(); ++s) tokens += tokens_drawn(step, static_cast<int>(s));
  return tokens;
}

std::int64_t BatchOrder::tokens_drawn(std::int64_t step, int source) const {
  const auto s = static_cast<std::size_t>(source);
  if (s >= plan_->sources.size()) {
    throw Error("no such source").values(fmt::format("0..{}", plan_->sources.size() - 1), fmt::format("{}", source));
  }
  if (step == 0) return 0;
  const int k = stage_index(step);
  const auto stage = static_cast<std::size_t>(k);
  const std::int64_t count = plan_->count_of_source(k, s, plan_->sequences_in_stage(stage, step + 1));
  return plan_->details[stage].drawn_tokens[s] + checked_product(count, plan_->stages[stage].context);
}

std::int64_t BatchOrder::highest_pass(std::int64_t step, int source) const {
  if (tokens_drawn(step, source) == 0) return 0;
  const int k = stage_index(step);
  const auto stage = static_cast<std::size_t>(k);
  const auto s = static_cast<std::size_t>(source);
  const std::int64_t count = plan_->count_of_source(k, s, plan_->sequences_in_stage(stage, step + 1));
  const std::int64_t end = plan_->details[stage].base_tokens[s] + checked_product(count, plan_->stages[stage].context);
  return ((end - 1) / plan_->span) / plan_->spans[s];
}

std::optional<std::int64_t> BatchOrder::first_step_of_pass(int source, std::int64_t pass,
                                                           std::int64_t last_step) const {
  if (last_step < 1 || highest_pass(last_step, source) < pass) return std::nullopt;
  std::int64_t low = 1;
  std::int64_t high = last_step;
  while (low < high) {  // highest_pass never falls
    const std::int64_t middle = low + (high - low) / 2;
    if (highest_pass(middle, source) >= pass)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

std::string sequence_bytes(const SequencePosition& position, std::span<const std::int32_t> tokens) {
  require_equal(position.length + 1, static_cast<std::int64_t>(tokens.size()),
                "a sequence has its inputs and one more target", "sequence_bytes");
  std::string bytes;
  append_little_endian(bytes, narrow<std::uint32_t>(position.source));
  append_little_endian(bytes, narrow<std::uint32_t>(position.pass));
  append_little_endian(bytes, narrow<std::uint64_t>(position.begin));
  append_little_endian(bytes, narrow<std::uint32_t>(position.length));
  static_assert(std::endian::native == std::endian::little);
  const std::size_t head = bytes.size();
  bytes.resize(head + tokens.size_bytes());
  std::memcpy(bytes.data() + head, tokens.data(), tokens.size_bytes());
  return bytes;
}

}  // namespace baekji
