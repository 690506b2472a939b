#include "model/parameters.h"

#include <cmath>
#include <string>

namespace baekji {
namespace {

class Declaration {
 public:
  Declaration(const ModelConfig& model, std::int64_t grains) : m_(model), grains_(grains) {
    // Projections into the residual stream start smaller, so that its variance does not grow with depth
    // (Radford et al. 2019, GPT-2, section 2.3).
    residual_std_ =
        model.init_std / (model.init_residual_scaling ? std::sqrt(2.0 * static_cast<double>(model.layers)) : 1.0);
  }

  ModelParameters run() {
    const bool tied = m_.tied_embeddings;
    result_.embedding = add_table({.members = {table("embedding", false)}, .contributions = tied ? 2 : 1});
    for (std::int64_t layer = 0; layer < m_.layers; ++layer) {
      unit_ = result_.block_unit(layer);
      add_block(fmt::format("layers.{}.", layer));
    }
    unit_ = result_.head_unit = tied ? result_.embedding_unit : unit_ + 1;
    result_.final_norm = add_gain("final_norm", m_.hidden);
    result_.head = tied ? result_.embedding : add_table({.members = {table("head", true)}});
    result_.head_contribution = tied ? 1 : 0;
    return std::move(result_);
  }

 private:
  GroupId add(ParameterGroup group) {
    group.unit = unit_;
    result_.groups.push_back(std::move(group));
    return result_.groups.size() - 1;
  }

  // Tables, as gains, are summed while the gradients of activations still exist.
  GroupId add_table(ParameterGroup group) {
    group.phase = GradientPhase::kInput;
    return add(std::move(group));
  }

  // One gradient sum per token grain (or per slice of heads): each grain's arithmetic stays its own.
  GroupId add_gain(const std::string& name, std::int64_t width) {
    const LogicalTensor logical{.name = name, .shape = {width}};
    const Initialisation ones{.kind = Initialisation::Kind::kConstant, .value = 1.0};
    return add({.members = {{.logical = logical, .initialisation = ones, .decay = false}},
                .contributions = grains_,
                .phase = GradientPhase::kInput});
  }

  ParameterSpec matrix(const std::string& name, std::int64_t rows, std::int64_t columns, Split split,
                       double std) const {
    return {.logical = {.name = name, .shape = {rows, columns}, .split = split, .slices = grains_},
            .initialisation = {.kind = Initialisation::Kind::kNormal, .value = std}};
  }

  ParameterSpec table(const std::string& name, bool decay) const {
    ParameterSpec spec = matrix(name, m_.vocab, m_.hidden, Split::kRows, m_.init_std);
    spec.logical.padded_rows = m_.padded_vocab(grains_);
    spec.decay = decay;
    return spec;
  }

  void add_block(const std::string& prefix) {
    const std::int64_t d = m_.head_width();
    const std::string attention = prefix + "attention.";
    const std::string feed_forward = prefix + "feed_forward.";
    const auto rows = [&](const std::string& name, std::int64_t n) {
      return matrix(name, n, m_.hidden, Split::kRows, m_.init_std);
    };
    BlockGroups block;
    block.attention_norm = add_gain(attention + "norm", m_.hidden);
    block.qkv = add({.members = {rows(attention + "q", m_.heads * d), rows(attention + "k", m_.kv_heads * d),
                                 rows(attention + "v", m_.kv_heads * d)}});
    if (m_.qk_norm) {
      block.q_norm = add_gain(attention + "q_norm", d);
      block.k_norm = add_gain(attention + "k_norm", d);
    }
    block.attention_output =
        add({.members = {matrix(attention + "output", m_.hidden, m_.heads * d, Split::kColumns, residual_std_)}});
    block.feed_forward_norm = add_gain(feed_forward + "norm", m_.hidden);
    block.gate_up = add({.members = {rows(feed_forward + "gate", m_.ffn), rows(feed_forward + "up", m_.ffn)}});
    block.down = add({.members = {matrix(feed_forward + "down", m_.hidden, m_.ffn, Split::kColumns, residual_std_)}});
    if (m_.output_norms) {
      block.attention_output_norm = add_gain(attention + "output_norm", m_.hidden);
      block.feed_forward_output_norm = add_gain(feed_forward + "output_norm", m_.hidden);
    }
    result_.blocks.push_back(block);
  }

  const ModelConfig& m_;
  std::int64_t grains_;
  double residual_std_ = 0;
  std::int64_t unit_ = 0;
  ModelParameters result_;
};

}  // namespace

std::vector<HeldGroup> held_groups(const ModelParameters& p, std::span<const StageRange> stages) {
  std::vector<HeldGroup> held;
  std::int64_t stage = 0;
  const bool tied = p.head == p.embedding;
  const auto hold = [&](GroupId id) {
    if (id != kAbsent) held.push_back({.id = id, .stage = stage, .contributions = p.groups[id].contributions});
  };
  for (const StageRange& range : stages) {
    if (range.embedding) {
      hold(p.embedding);
      held.back().tied = tied && !range.head;
      if (held.back().tied) held.back().contributions = p.head_contribution;
    }
    for (std::int64_t layer = range.first_layer; layer < range.first_layer + range.layers; ++layer) {
      for (const GroupId id : p.blocks[static_cast<std::size_t>(layer)].all()) hold(id);
    }
    if (range.head) {
      hold(p.final_norm);
      if (!tied || !range.embedding) hold(p.head);
      if (tied && !range.embedding) {
        held.back().tied = true;
        held.back().first_contribution = p.head_contribution;
        held.back().contributions -= p.head_contribution;
      }
    }
    ++stage;
  }
  return held;
}

ModelParameters declare_parameters(const ModelConfig& model, std::int64_t tensor_grains) {
  return Declaration(model, tensor_grains).run();
}

}  // namespace baekji
