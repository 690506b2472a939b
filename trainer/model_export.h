#pragma once
// ModelExport: a saved state of a run as the files that Hugging Face's libraries load. docs/formats/export.md fixes
// them.

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "core/thread_pool.h"
#include "data/tokenizer.h"
#include "proof/attestation.h"
#include "proof/ledger.h"
#include "trainer/experiment.h"
#include "trainer/hugging_face.h"
#include "trainer/output_folder.h"
#include "trainer/run_history.h"

namespace baekji {

inline constexpr const char* kProvenanceFileName = "provenance.json";

class ModelExport {
 public:
  struct Options {
    std::optional<std::int64_t> step;          ///< the newest good checkpoint without one
    std::optional<DType> type;                 ///< without one, what the run computes with
    std::int64_t shard_bytes = 5'000'000'000;  ///< most data of one file of weights
  };
  /// Opens and checks everything that the files come from: the ledger's chain; the contract, which must be the
  /// ledger's, the checkpoint's and what experiment.toml says; the tokenizer against the contract; the checkpoint,
  /// whose state root must stand in the ledger and is computed again from its arrays; and that the forms can say this
  /// model. Throws otherwise.
  ModelExport(const RunFolder& folder, const Options& options, ThreadPool& pool);

  const CheckpointInfo& info() const { return checkpoint_.info(); }
  std::string_view form() const { return hugging_face_form(experiment_.model); }
  DType type() const { return type_; }
  std::int64_t weight_bytes() const;

  /// What takes a file: it calls `produce` once, with a sink for the bytes.
  using FileTaker = std::function<void(const std::string& name, const std::function<void(const ByteSink&)>& produce)>;
  /// Produces every file, the same bytes each time, and gives their digests. Holds a few MiB of weights at a time.
  std::vector<AttestedSubject> produce(const FileTaker& take);

 private:
  void check_contract(const RunFolder& folder) const;
  HuggingFaceModel described() const;
  nlohmann::ordered_json tokenizer_config() const;
  std::string provenance(const std::vector<AttestedSubject>& files) const;
  void produce_weights(const SafetensorsFile& file, const ByteSink& sink);

  Experiment experiment_;
  Tokenizer tokenizer_;
  Ledger ledger_;
  Checkpoint checkpoint_;
  DType type_ = DType::kFloat32;
  std::int64_t shard_bytes_ = 0;
  std::vector<SafetensorsFile> weights_;
};

/// The options that the export in a folder was made with, from its provenance.json.
ModelExport::Options export_options(const std::filesystem::path& folder);

}  // namespace baekji
