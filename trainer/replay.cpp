#include "trainer/replay.h"

#include <chrono>
#include <nlohmann/json.hpp>

namespace baekji {
namespace {

// The root of a state that the ledger holds beside the step's record: in a checkpoint event, or in genesis.
std::optional<Mismatch> compare_root(std::int64_t step, const Digest& recorded, const Digest& computed) {
  if (recorded == computed) return std::nullopt;
  return Mismatch{.step = step, .members = {"state_root"}, .recorded = to_hex(recorded), .computed = to_hex(computed)};
}

std::optional<Mismatch> compare_record(const Ledger& ledger, const StepRecord& record) {
  const auto recorded = ledger.find_step(record.step);
  if (!recorded) {
    throw Error("the ledger does not reach that step")
        .values(fmt::format("up to {}", ledger.last_step()), fmt::format("{}", record.step));
  }
  const nlohmann::json computed = step_body(record);
  std::vector<std::string> members = step_differences(*recorded, computed);
  if (!members.empty()) {
    return Mismatch{
        .step = record.step, .members = std::move(members), .recorded = recorded->dump(), .computed = computed.dump()};
  }
  const std::optional<Digest> root = ledger.state_root_of(record.step);
  if (!root || !record.state_root) return std::nullopt;
  return compare_root(record.step, *root, *record.state_root);
}

// Rank 0's clock decides for all.
bool goes_on(const std::function<bool()>& may_go_on, Communicator& world) {
  if (!may_go_on) return true;
  std::int32_t yes = world.rank() == 0 && may_go_on() ? 1 : 0;
  world.broadcast(Tensor(&yes, DType::kInt32, {1}), 0);
  return yes != 0;
}

}  // namespace

std::optional<Mismatch> start_from_anchor(Execution& run, const Anchor& anchor) {
  if (anchor.checkpoint.empty())
    run.start_from_genesis();
  else
    run.start_from(anchor.checkpoint, anchor.position);
  std::optional<Mismatch> mismatch = compare_root(anchor.step(), anchor.root, run.root());
  if (mismatch) mismatch->at_start = true;
  return mismatch;
}

ReplayResult replay(const ReplayArgs& args, Communicator& world) {
  Execution run({.experiment = args.experiment,
                 .inputs = args.inputs,
                 .skipped = args.ledger.skipped(),
                 .kernels = args.kernels,
                 .machine = args.machine},
                world);
  ReplayResult result{.mismatch = start_from_anchor(run, args.anchor)};
  const auto begin = std::chrono::steady_clock::now();
  while (!result.mismatch && run.position().step < args.last) {
    if (!goes_on(args.may_go_on, world)) {
      result.out_of_time = true;
      break;
    }
    const bool with_root = args.ledger.state_root_of(run.position().step + 1).has_value();
    const StepRecord record = run.step(with_root);
    result.mismatch = compare_record(args.ledger, record);
    if (result.mismatch) break;
    ++result.records;
    if (with_root) ++result.roots;
    result.root_at_end = with_root && record.step == args.last;
    if (args.visit) args.visit(run, record);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace baekji
