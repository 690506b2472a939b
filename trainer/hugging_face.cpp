#include "trainer/hugging_face.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::ordered_json;

std::string_view torch_type(DType type) {
  return type == DType::kBfloat16 ? "bfloat16" : "float32";
}

}  // namespace

void check_expressible(const ModelConfig& m, const std::string& place) {
  const auto refuse = [&](bool expressible, std::string_view key, std::string_view required, const std::string& came) {
    if (expressible) return;
    throw Error(fmt::format("model.{} has no place in the Llama and Qwen3 forms", key))
        .values(fmt::format("{} = {}", key, required), came)
        .at(place)
        .hint("export would give a model that computes something else");
  };
  refuse(!m.output_norms, "output_norms", "false", "true");
  const auto neutral = [&](std::string_view key, double value) {
    refuse(value == 1.0, key, "1", fmt::format("{}", value));
  };
  neutral("embedding_multiplier", m.embedding_multiplier);
  neutral("residual_multiplier", m.residual_multiplier);
  neutral("logits_multiplier", m.logits_multiplier);
  ModelConfig plain = m;
  plain.attention_multiplier = 0;
  refuse(m.attention_scale() == plain.attention_scale(), "attention_multiplier", "0, or 1 / sqrt(head_dim)",
         fmt::format("{}", m.attention_multiplier));
}

std::string_view hugging_face_form(const ModelConfig& model) {
  return model.qk_norm ? "qwen3" : "llama";
}

std::vector<NamedWeight> hugging_face_names(const ModelConfig& m) {
  using Pair = std::pair<const char*, const char*>;
  constexpr Pair kBlock[] = {
      {"attention.norm", "input_layernorm"},    {"attention.q", "self_attn.q_proj"},
      {"attention.k", "self_attn.k_proj"},      {"attention.v", "self_attn.v_proj"},
      {"attention.output", "self_attn.o_proj"}, {"feed_forward.norm", "post_attention_layernorm"},
      {"feed_forward.gate", "mlp.gate_proj"},   {"feed_forward.up", "mlp.up_proj"},
      {"feed_forward.down", "mlp.down_proj"}};
  constexpr Pair kHeadNorms[] = {{"attention.q_norm", "self_attn.q_norm"}, {"attention.k_norm", "self_attn.k_norm"}};
  std::vector<NamedWeight> names{{.ours = "embedding", .theirs = "model.embed_tokens.weight"}};
  for (std::int64_t layer = 0; layer < m.layers; ++layer) {
    const auto add = [&](const Pair& pair) {
      names.push_back({.ours = fmt::format("layers.{}.{}", layer, pair.first),
                       .theirs = fmt::format("model.layers.{}.{}.weight", layer, pair.second)});
    };
    for (const Pair& pair : kBlock) add(pair);
    if (!m.qk_norm) continue;
    for (const Pair& pair : kHeadNorms) add(pair);
  }
  names.push_back({.ours = "final_norm", .theirs = "model.norm.weight"});
  if (!m.tied_embeddings) names.push_back({.ours = "head", .theirs = "lm_head.weight"});
  return names;
}

ordered_json hugging_face_config(const HuggingFaceModel& args) {
  const ModelConfig& m = args.model;
  ordered_json config = {{"architectures", {m.qk_norm ? "Qwen3ForCausalLM" : "LlamaForCausalLM"}},
                         {"model_type", hugging_face_form(m)},
                         {"dtype", torch_type(args.type)},
                         {"torch_dtype", torch_type(args.type)},  // the name before transformers 4.56
                         {"vocab_size", m.vocab},
                         {"hidden_size", m.hidden},
                         {"intermediate_size", m.ffn},
                         {"num_hidden_layers", m.layers},
                         {"num_attention_heads", m.heads},
                         {"num_key_value_heads", m.kv_heads},
                         {"head_dim", m.head_width()},
                         {"hidden_act", "silu"},
                         {"max_position_embeddings", args.context},
                         {"rms_norm_eps", m.norm_eps},
                         {"rope_theta", args.rope_theta},
                         // where transformers looks since version 5
                         {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", args.rope_theta}}},
                         {"tie_word_embeddings", m.tied_embeddings},
                         {"attention_bias", false},
                         {"attention_dropout", 0.0},
                         {"initializer_range", m.init_std},
                         {"use_cache", true},
                         {"bos_token_id", args.bos_id},
                         {"eos_token_id", args.eos_id}};
  if (m.qk_norm)
    config["use_sliding_window"] = false;
  else
    config["mlp_bias"] = false;
  return config;
}

ordered_json generation_config(const HuggingFaceModel& args) {
  return {{"bos_token_id", args.bos_id}, {"eos_token_id", args.eos_id}};
}

}  // namespace baekji
