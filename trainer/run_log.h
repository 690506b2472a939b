#pragma once
// RunLog: everything a run says while it goes: progress lines, metrics.jsonl, TensorBoard, the loss curve and the
// summary.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/engine.h"
#include "trainer/experiment.h"
#include "trainer/run_history.h"

namespace baekji {

/// Validation of one source at one step.
struct SourceLoss {
  std::string source;
  double loss = 0;  ///< nats per token
  std::int64_t sequences = 0;
};

class RunLog {
 public:
  struct Args {
    const Experiment& experiment;
    RunFolder folder;
    std::int64_t resumed_step = 0;  ///< lines of later steps are from before a crash and are dropped
    double ceiling_flops =
        0;  ///< measured matmul ceiling of this device and precision, FLOP/s; 0: not measured, no mfu
  };
  explicit RunLog(const Args& args);
  ~RunLog();

  struct StepTimes {
    double step_s = 0;
    double all_stalls_ms = 0;  ///< training stood still for checkpoints, in this process so far
  };
  /// One finished step.
  void step(std::int64_t step, const RunPosition& position, const StepResult& result, const StepTimes& times);
  /// Norms by parameter name.
  void norms(std::int64_t step, const std::map<std::string, double>& gradient,
             const std::map<std::string, double>& weight);
  void validation(std::int64_t step, const std::vector<SourceLoss>& losses);
  void saved(const SavedCheckpoint& checkpoint);
  /// A line for people, on its own.
  void say(const std::string& text);
  void warn(const std::string& text);

  struct Summary {
    RunPosition position;
    std::vector<SourceLoss> validation;
    std::map<std::string, double> unigram_entropy;  ///< nats per token, by source
    std::string checkpoint;
    std::string state_root;
    double all_stalls_ms = 0;  ///< as of StepTimes
  };
  /// Writes the loss curve and summary.json and prints where they are.
  void finish(const Summary& summary);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Resident memory of this process now, bytes; and the most it has been.
std::int64_t resident_bytes();
std::int64_t peak_resident_bytes();

}  // namespace baekji
