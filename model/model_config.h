#pragma once
// [model]: a Llama / Qwen style decoder. Part of the contract.

#include <cstdint>
#include <string>

namespace baekji {

struct ModelConfig {
  std::int64_t layers = 4;
  std::int64_t hidden = 256;
  std::int64_t heads = 8;
  std::int64_t kv_heads = 8;
  std::int64_t head_dim = 0;
  std::int64_t ffn = 688;
  std::int64_t vocab = 4096;
  std::int64_t context = 256;
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  bool qk_norm = false;
  bool output_norms = false;
  bool tied_embeddings = false;
  bool document_mask = false;
  double init_std = 0.02;
  bool init_residual_scaling = true;
  double embedding_multiplier = 1.0;
  double attention_multiplier = 0.0;
  double residual_multiplier = 1.0;
  double logits_multiplier = 1.0;

  template <class V>
  void visit(V& v) {
    v.field("layers", layers, "transformer blocks");
    v.field("hidden", hidden, "width of the residual stream");
    v.field("heads", heads, "query heads");
    v.field("kv_heads", kv_heads, "key/value heads (grouped-query attention)");
    v.field("head_dim", head_dim, "width of a head; 0 means hidden / heads");
    v.field("ffn", ffn, "inner width of the SwiGLU feed-forward layer");
    v.field("vocab", vocab, "vocabulary rows of embedding and head");
    v.field("context", context, "tokens per sequence");
    v.field("rope_theta", rope_theta, "base of the rotary frequencies");
    v.field("norm_eps", norm_eps, "added to the mean square in every RMSNorm");
    v.field("qk_norm", qk_norm, "RMSNorm of each query and key head before RoPE");
    v.field("output_norms", output_norms, "RMSNorm of each branch before it joins the residual stream (Peri-LN)");
    v.field("tied_embeddings", tied_embeddings, "embedding and head are one parameter");
    v.field("document_mask", document_mask, "attention stays inside a document, positions restart in each");
    v.field("init_std", init_std, "standard deviation of the initial weights");
    v.field("init_residual_scaling", init_residual_scaling,
            "divide init_std of projections into the residual stream by sqrt(2 layers)");
    v.field("embedding_multiplier", embedding_multiplier, "muP: multiplies the embeddings");
    v.field("attention_multiplier", attention_multiplier, "muP: multiplies q.k; 0 means 1 / sqrt(head_dim)");
    v.field("residual_multiplier", residual_multiplier, "muP: multiplies each branch");
    v.field("logits_multiplier", logits_multiplier, "muP: multiplies the logits");
  }

  std::int64_t head_width() const { return head_dim == 0 ? hidden / heads : head_dim; }
  std::int64_t padded_vocab(std::int64_t tensor_grains) const {
    return (vocab + tensor_grains - 1) / tensor_grains * tensor_grains;
  }
  double attention_scale() const;
};

/// Throws unless the shape can be computed in `tensor_grains` slices.
void validate(const ModelConfig& model, std::int64_t tensor_grains, const std::string& place);

/// Floating-point operations of one training step per token: 6 per multiplied parameter (head included, embedding
/// look-up not) and causal attention, without recomputation.
double flops_per_token(const ModelConfig& model, std::int64_t context);

/// Logical parameters, without padding.
std::int64_t parameter_count(const ModelConfig& model);

}  // namespace baekji
