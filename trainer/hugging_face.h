#pragma once
// How a model of ours is said in Hugging Face's words: the Llama form, or with QK-norm the Qwen3 form.
// docs/formats/export.md says which key becomes which.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "model/model_config.h"

namespace baekji {

struct HuggingFaceModel {
  ModelConfig model;
  DType type = DType::kFloat32;  ///< of the exported weights
  double rope_theta = 0;         ///< of the stage that the weights come from
  std::int64_t context = 0;      ///< of the same stage
  std::int32_t bos_id = -1;      ///< what begins a text
  std::int32_t eos_id = -1;
};

/// Throws, naming the key, when neither form computes what the model computes.
void check_expressible(const ModelConfig& model, const std::string& place);

/// "llama" or "qwen3".
std::string_view hugging_face_form(const ModelConfig& model);

/// One weight of ours and its name there. Shapes and element order are the same: rotary pairs are (i, i + D/2) on both
/// sides.
struct NamedWeight {
  std::string ours;
  std::string theirs;
};
/// All weights, in the order of the model.
std::vector<NamedWeight> hugging_face_names(const ModelConfig& model);

nlohmann::ordered_json hugging_face_config(const HuggingFaceModel& args);
nlohmann::ordered_json generation_config(const HuggingFaceModel& args);

}  // namespace baekji
