#include "trainer/replay.h"

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/exact_files.h"
#include "trainer/checkpoint_of_run.h"

namespace baekji {
namespace {

// The root of a state that the ledger holds beside the step's record: in a checkpoint event, or in genesis.
std::optional<Mismatch> compare_root(const Ledger& ledger, std::int64_t step, const std::optional<Digest>& computed) {
  const std::optional<Digest> recorded = ledger.state_root_of(step);
  if (!recorded || !computed || *recorded == *computed) return std::nullopt;
  return Mismatch{
      .step = step, .members = {"state_root"}, .recorded = to_hex(*recorded), .computed = to_hex(*computed)};
}

std::optional<Mismatch> compare_record(const Ledger& ledger, const StepRecord& record) {
  const auto recorded = ledger.find_step(record.step);
  if (!recorded) {
    throw Error("the ledger does not reach that step")
        .values(fmt::format("up to {}", ledger.last_step()), fmt::format("{}", record.step));
  }
  const nlohmann::json computed = step_body(record);
  std::vector<std::string> members = step_differences(*recorded, computed);
  if (members.empty()) return compare_root(ledger, record.step, record.state_root);
  return Mismatch{
      .step = record.step, .members = std::move(members), .recorded = recorded->dump(), .computed = computed.dump()};
}

}  // namespace

std::vector<Anchor> anchors_of(const RunFolder& folder, const Ledger& ledger,
                               const std::function<void(const std::string&)>& problem) {
  std::vector<Anchor> anchors{Anchor{}};
  const CheckpointStore store(folder.checkpoints());
  for (const std::int64_t step : store.list()) {
    try {
      const Checkpoint checkpoint = Checkpoint::open(store.path_of(step));
      require_exact_directory(checkpoint.path(), checkpoint.manifest());  // the rest when a replay begins there
      const std::string reason = why_not_of_run(checkpoint.info(), ledger);
      if (reason.empty())
        anchors.push_back({.step = step, .checkpoint = store.path_of(step)});
      else
        problem(fmt::format("{}: {}", store.path_of(step).string(), reason));
    } catch (const Error& error) {
      problem(error.what());
    }
  }
  return anchors;
}

const Anchor& anchor_for(const std::vector<Anchor>& anchors, std::int64_t step) {
  const Anchor* best = &anchors.front();
  for (const Anchor& anchor : anchors) {
    if (anchor.step <= step) best = &anchor;
  }
  return *best;
}

ReplayResult replay(const ReplayArgs& args, Communicator& world) {
  Execution run({.experiment = args.experiment,
                 .inputs = args.inputs,
                 .skipped = args.ledger.skipped(),
                 .kernels = args.kernels,
                 .machine = args.machine},
                world);
  ReplayResult result;
  if (args.anchor.checkpoint.empty()) {
    run.start_from_genesis();
    result.mismatch = compare_root(args.ledger, args.anchor.step, run.root());
  } else {
    run.start_from(args.anchor.checkpoint);  // has the root of its manifest, and so an anchor the ledger's
  }
  while (!result.mismatch && run.position().step < args.last) {
    const bool with_root = args.ledger.state_root_of(run.position().step + 1).has_value();
    result.mismatch = compare_record(args.ledger, run.step(with_root));
    if (result.mismatch) break;
    ++result.records;
    if (with_root) ++result.roots;
  }
  return result;
}

}  // namespace baekji
