#include "model/model_config.h"

#include <cmath>

#include "core/error.h"

namespace baekji {
namespace {

std::int64_t multiplied_parameters_per_layer(const ModelConfig& m) {
  const std::int64_t d = m.head_width();
  return m.hidden * d * (2 * m.heads + 2 * m.kv_heads) + 3 * m.hidden * m.ffn;
}

}  // namespace

double ModelConfig::attention_scale() const {
  return attention_multiplier != 0.0 ? attention_multiplier : 1.0 / std::sqrt(static_cast<double>(head_width()));
}

void validate(const ModelConfig& m, std::int64_t grains, const std::string& place) {
  const auto positive = [&](std::int64_t value, const char* key) {
    if (value < 1)
      throw Error(fmt::format("{} must be at least 1", key)).values(">= 1", fmt::format("{}", value)).at(place);
  };
  const auto divides = [&](std::int64_t divisor, const char* divisor_key, std::int64_t value, const char* key) {
    if (value % divisor != 0) {
      throw Error(fmt::format("{} must be divisible by {}", key, divisor_key))
          .values(fmt::format("a multiple of {}", divisor), fmt::format("{} = {}", key, value))
          .at(place);
    }
  };
  positive(m.layers, "layers");
  positive(m.hidden, "hidden");
  positive(m.heads, "heads");
  positive(m.kv_heads, "kv_heads");
  positive(m.ffn, "ffn");
  positive(m.vocab, "vocab");
  positive(m.context, "context");
  if (m.head_dim == 0) divides(m.heads, "heads", m.hidden, "hidden");
  if (m.head_dim < 0)
    throw Error("head_dim must not be negative").values(">= 0", fmt::format("{}", m.head_dim)).at(place);
  divides(m.kv_heads, "kv_heads", m.heads, "heads");
  divides(grains, "tensor_grains", m.kv_heads, "kv_heads");
  divides(grains, "tensor_grains", m.hidden, "hidden");
  divides(grains, "tensor_grains", m.ffn, "ffn");
  if (m.head_width() % 2 != 0) {
    throw Error("rotary embeddings need an even head width")
        .values("even", fmt::format("{}", m.head_width()))
        .at(place);
  }
  const auto require = [&](bool ok, const char* rule, double came) {
    if (!ok) throw Error("a model constant is out of range").values(rule, fmt::format("{}", came)).at(place);
  };
  require(m.rope_theta > 1, "rope_theta > 1", m.rope_theta);
  require(m.norm_eps > 0, "norm_eps > 0", m.norm_eps);
  require(m.init_std > 0, "init_std > 0", m.init_std);
  require(m.attention_multiplier >= 0, "attention_multiplier >= 0", m.attention_multiplier);
  require(m.residual_multiplier != 0, "residual_multiplier != 0", m.residual_multiplier);
  require(m.embedding_multiplier != 0, "embedding_multiplier != 0", m.embedding_multiplier);
  require(m.logits_multiplier != 0, "logits_multiplier != 0", m.logits_multiplier);
}

double flops_per_token(const ModelConfig& m, std::int64_t context) {
  const double multiplied = static_cast<double>(m.layers * multiplied_parameters_per_layer(m) + m.vocab * m.hidden);
  const double attention = static_cast<double>(m.layers * m.heads * m.head_width() * context);
  return 6.0 * multiplied + 6.0 * attention;
}

std::int64_t parameter_count(const ModelConfig& m) {
  std::int64_t norms = 2 * m.hidden;
  if (m.output_norms) norms += 2 * m.hidden;
  if (m.qk_norm) norms += 2 * m.head_width();
  const std::int64_t tables = (m.tied_embeddings ? 1 : 2) * m.vocab * m.hidden;
  return m.layers * (multiplied_parameters_per_layer(m) + norms) + tables + m.hidden;
}

}  // namespace baekji
