#include "model/generator.h"

#include <algorithm>
#include <numeric>

#include "core/functions.h"

namespace baekji {
namespace {

// Tokens of a prompt that go through the model at once; the rest goes one by one.
constexpr std::int64_t kPrefillTokens = 64;

}  // namespace

std::int32_t sample_token(std::span<float> logits_V, const SamplingOptions& options, std::uint64_t index) {
  const auto best = std::max_element(logits_V.begin(), logits_V.end());
  if (options.temperature == 0) return static_cast<std::int32_t>(best - logits_V.begin());
  const float top = *best;
  const auto inverse = static_cast<float>(1.0 / options.temperature);
  double total = 0;
  for (float& logit : logits_V) {
    logit = exp_f32((logit - top) * inverse);
    total += static_cast<double>(logit);
  }
  std::vector<std::int32_t> order(logits_V.size());
  std::iota(order.begin(), order.end(), 0);
  const auto weight = [&](std::int32_t id) { return logits_V[static_cast<std::size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return weight(a) > weight(b); });
  std::size_t kept = 0;
  double mass = 0;
  while (kept < order.size() && (kept == 0 || mass < options.top_p * total))
    mass += static_cast<double>(weight(order[kept++]));
  double left = RandomStream("baekji.sample.v1", options.seed, "").uniform(index) * mass;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    left -= static_cast<double>(weight(order[i]));
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

struct Generator::Width {
  Width(const Args& args, GrainTree& grains, std::int64_t tokens, Arena& arena)
      : kernels(args.kernels),
        common({.context = {.kernels = args.kernels,
                            .parameters = args.parameters,
                            .grains = grains,
                            .model = args.model,
                            .types = args.types,
                            .shape = {.sequences = 1, .context = tokens}},
                .rope_theta = args.rope_theta,
                .positions = args.positions,
                .loss_chunk = 1,
                .training = false},
               arena),
        stage({.declared = args.declared, .range = whole_model(args.model)}, common, arena),
        token_BT(arena.allocate("batches", DType::kInt32, {1, tokens})),
        position_BT(arena.allocate("batches", DType::kInt32, {1, tokens})) {}
  Kernels& kernels;
  StageCommon common;
  TransformerStage stage;
  Tensor token_BT;
  Tensor position_BT;
};

Generator::Generator(const Args& args, Arena& arena)
    : group_(make_self_communicator()),
      grains_(std::make_unique<GrainTree>(args.kernels, *group_, GrainMap(args.tensor_grains, 1, 0))),
      positions_(args.positions),
      logits_V_(static_cast<std::size_t>(args.model.vocab)) {
  const std::int64_t width = args.model.kv_heads * args.model.head_width() / args.tensor_grains;
  for (std::int64_t layer = 0; layer < args.model.layers; ++layer) {
    KeyValueCache cache;
    for (std::int64_t s = 0; s < args.tensor_grains; ++s) {
      cache.k_PE.push_back(arena.allocate("key/value cache", args.types.compute, {positions_, width}));
      cache.v_PE.push_back(arena.allocate("key/value cache", args.types.compute, {positions_, width}));
    }
    caches_.push_back(std::move(cache));
  }
  if (positions_ >= kPrefillTokens) prefill_ = std::make_unique<Width>(args, *grains_, kPrefillTokens, arena);
  single_ = std::make_unique<Width>(args, *grains_, 1, arena);
}

Generator::~Generator() = default;

void Generator::feed(Width& width, std::span<const std::int32_t> tokens) {
  std::vector<std::int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), narrow<std::int32_t>(cached_));
  width.kernels.upload({.from = tokens.data(), .to = width.token_BT});
  width.kernels.upload({.from = positions.data(), .to = width.position_BT});
  width.stage.decode({.token_BT = width.token_BT, .position_BT = width.position_BT}, caches_, cached_, logits_V_);
  cached_ += static_cast<std::int64_t>(tokens.size());
}

void Generator::run(std::span<const std::int32_t> prompt, std::int64_t count, const SamplingOptions& options,
                    const std::function<bool(std::int32_t)>& accept) {
  const auto length = static_cast<std::int64_t>(prompt.size());
  if (length < 1 || length >= positions_) {
    throw Error("the prompt does not fit the model")
        .values(fmt::format("1..{} tokens", positions_ - 1), fmt::format("{}", length));
  }
  cached_ = 0;
  while (cached_ < length) {
    const std::size_t begin = static_cast<std::size_t>(cached_);
    if (prefill_ && length - cached_ >= kPrefillTokens)
      feed(*prefill_, prompt.subspan(begin, kPrefillTokens));
    else
      feed(*single_, prompt.subspan(begin, 1));
  }
  for (std::int64_t made = 0; made < count; ++made) {
    const std::int32_t token = sample_token(logits_V_, options, static_cast<std::uint64_t>(made));
    if (!accept(token) || cached_ >= positions_) return;
    if (made + 1 < count) feed(*single_, std::span(&token, 1));
  }
}

void Generator::score(std::span<const std::int32_t> tokens,
                      const std::function<void(std::size_t, std::span<const float>)>& visit) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  if (length < 1 || length > positions_) {
    throw Error("the text does not fit the model")
        .values(fmt::format("1..{} tokens", positions_), fmt::format("{}", length));
  }
  cached_ = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    feed(*single_, tokens.subspan(i, 1));
    visit(i, logits_V_);
  }
}

}  // namespace baekji
