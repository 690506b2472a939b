#pragma once
// The bodies of ledger records: what a run says of its start, its steps and its checkpoints. docs/formats/ledger.md.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "proof/kernel_set.h"
#include "proof/skipped_batches.h"

namespace baekji {

inline constexpr std::int64_t kLedgerVersion = 2;

/// The bits of a double as 16 lower-case hex digits, most significant first ("3ff0000000000000" is 1), and back.
std::string double_bits(double value);
double parse_double_bits(std::string_view bits);

/// What a run starts from: the first record.
struct GenesisRecord {
  Digest contract{};
  Digest state_root{};  ///< of step 0
  KernelSet kernel_set;
  std::string beacon_value;  ///< bytes; not empty when the seed comes from the beacon that the contract names
};
nlohmann::json genesis_body(const GenesisRecord& record);
GenesisRecord parse_genesis_body(const nlohmann::json& body, const std::string& place);

/// One step. Nothing here depends on layout, time or host: the same experiment gives the same body anywhere.
struct StepRecord {
  std::int64_t step = 0;  ///< 1 for the first: the state after it is "the state of step 1"
  Digest batch_root{};    ///< of the sequences of the batch: docs/formats/batch-order.md
  double loss = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
  double move = 0;            ///< Euclidean norm of the change of all master weights in this step
  std::int64_t position = 0;  ///< data position after the step: sequences taken from the batch order so far
  std::int64_t tokens = 0;    ///< trained on so far, without padding
  std::int64_t updates = 0;   ///< optimizer updates so far: steps that were not void
  std::string void_tensor;    ///< not empty: the step is void, and this tensor's gradient was the first invalid one
  std::optional<Digest> state_root;  ///< after the step, when it was computed
};
nlohmann::json step_body(const StepRecord& record);
StepRecord parse_step_body(const nlohmann::json& body, const std::string& place);

/// Events, beside their name. Each has exactly these members.
/// "start": the first session of a run, with its layout in words.
nlohmann::json start_details(const std::string& layout);
void parse_start_event(const nlohmann::json& body, const std::string& place);

/// "resume": a later session goes on from the state of `step`.
struct ResumeEvent {
  std::int64_t step = 0;
  KernelSet kernel_set;               ///< of this session
  std::string layout;                 ///< in words
  std::int64_t torn_bytes = 0;        ///< of the line that a crash left, which was cut off
  std::vector<std::string> problems;  ///< what was wrong with newer checkpoints
};
/// Long texts are cut: a line of the ledger holds at most kMostLineBytes.
nlohmann::json resume_details(const ResumeEvent& event);
ResumeEvent parse_resume_event(const nlohmann::json& body, const std::string& place);

/// "checkpoint": this state is about to be saved. It stands in the ledger before the checkpoint can be found, so that
/// no crash leaves a checkpoint with an unknown state root.
struct CheckpointEvent {
  std::int64_t step = 0;
  Digest state_root{};
};
nlohmann::json checkpoint_details(const CheckpointEvent& event);
CheckpointEvent parse_checkpoint_event(const nlohmann::json& body, const std::string& place);

/// "divergence": a step was trained again and gave another record, in these members. The session ends with it.
struct DivergenceEvent {
  std::int64_t step = 0;
  std::vector<std::string> members;
};
nlohmann::json divergence_details(const DivergenceEvent& event);
DivergenceEvent parse_divergence_event(const nlohmann::json& body, const std::string& place);

/// "restart", "recheck", "spike", "opened": kept for later; gives the step that the event is about.
std::int64_t parse_reserved_event(const nlohmann::json& body, const std::string& place);

/// "rollback": the steps behind `to` were undone, and batches are left out for ever.
struct RollbackEvent {
  std::int64_t to = 0;
  BatchRange skip;
};
nlohmann::json rollback_details(const RollbackEvent& event);
RollbackEvent parse_rollback_event(const nlohmann::json& body, const std::string& place);

/// The names of the members in which two bodies of one step differ; state_root counts only when both have it.
std::vector<std::string> step_differences(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace baekji
