#pragma once
// Metrics: what a run measured, as one JSON object per line, for people's plots and for scripts.
//
//   RUN/metrics.jsonl     one line per optimizer step, with exactly the keys of StepMetrics, in that order
//   RUN/validation.jsonl  {"step", "validation": {source: nats per token}}
//   RUN/norms.jsonl       {"step", "gradient": {parameter: norm}, "weight": {parameter: norm}}
//
// Numbers that are not finite are written as null. Nothing here is compared between runs: that is the ledger's part.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/file_system.h"

namespace baekji {

/// The files above, in a run folder.
inline constexpr const char* kMetricsFile = "metrics.jsonl";
inline constexpr const char* kValidationFile = "validation.jsonl";
inline constexpr const char* kNormsFile = "norms.jsonl";

/// One line of metrics.jsonl. The JSON keys are the member names.
struct StepMetrics {
  std::int64_t step = 0;
  std::int64_t tokens = 0;  ///< trained so far, this step included
  double loss = 0;          ///< nats per token, mean over the global batch
  double grad_norm = 0;     ///< of the mean gradient, before clipping
  double learning_rate = 0;
  double step_s = 0;  ///< wall time of the step
  double tokens_per_s = 0;
  double mfu = 0;  ///< share of the measured matmul ceiling
  std::int64_t memory_bytes = 0;
  double save_stall_ms = 0;  ///< training stood still for checkpoints since the line before; in no step_s
};

/// Appends to the three files. A line is handed to the system in one write as soon as it is known, so that a killed run
/// leaves every finished step's line (and at most one torn line, which the next start removes).
class MetricsWriter {
 public:
  struct Args {
    FileSystem& files;
    std::filesystem::path folder;   ///< the run folder; created when it is not there
    std::int64_t resumed_step = 0;  ///< lines of later steps are from before a crash: they are dropped
  };
  /// On failure (Error) the old lines still stand.
  explicit MetricsWriter(const Args& args);

  void step(const StepMetrics& metrics);
  void validation(std::int64_t step, const std::map<std::string, double>& loss_by_source);
  void norms(std::int64_t step, const std::map<std::string, double>& gradient,
             const std::map<std::string, double>& weight);

 private:
  AppendFile& open(const char* name);

  FileSystem& files_;
  std::filesystem::path folder_;
  std::map<std::string, std::unique_ptr<AppendFile>> open_;
};

/// Calls `take` with each whole line of a file of JSON objects. A torn last line is left out; a missing file is empty.
/// Throws Error with file and line number on any other line that is no JSON object.
void read_json_lines(FileSystem& files, const std::filesystem::path& path,
                     const std::function<void(const nlohmann::json&)>& take);

/// Every step of RUN/metrics.jsonl; null becomes NaN. Throws Error when a line lacks a key.
std::vector<StepMetrics> read_metrics(FileSystem& files, const std::filesystem::path& folder);

}  // namespace baekji
