#include "trainer/saved_model.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/untrusted_file.h"
#include "proof/contract.h"
#include "trainer/ledger_rules.h"
#include "trainer/run_experiment.h"

namespace baekji {

namespace fs = std::filesystem;

RunFolder open_run_folder(const std::filesystem::path& path) {
  RunFolder folder{path};
  FileSystem& files = posix_file_system();
  if (!files.exists(folder.ledger()) || !files.exists(folder.experiment())) {
    throw Error("not a run folder")
        .values("a folder with experiment.toml and ledger.jsonl", "none")
        .at(path.string())
        .hint("give the folder that `baekji train` wrote (run.output)");
  }
  return folder;
}

namespace {

// A manifest says what its writer claimed; of what the ledger can say, the ledger's word counts.
std::string why_not_of_ledger(const CheckpointInfo& info, const Ledger& ledger) {
  const std::optional<Digest> root = ledger.state_root_of(info.step);
  if (info.step < 1 || info.step > ledger.last_step()) return fmt::format("the ledger has no step {}", info.step);
  if (!root) return fmt::format("this run's ledger holds no state root of step {}", info.step);
  if (*root != info.state_root)
    return fmt::format("its state root is {}, the ledger has {} for step {}", to_hex(info.state_root), to_hex(*root),
                       info.step);
  const StepRecord record = parse_step_body(ledger.find_step(info.step).value(), "ledger.jsonl");
  if (record.tokens != info.tokens || record.position != info.position || record.updates != info.updates) {
    return fmt::format("its {} tokens at position {} after {} updates are not the ledger's {} at {} after {}",
                       info.tokens, info.position, info.updates, record.tokens, record.position, record.updates);
  }
  return {};
}

// States that were opened for a challenge lie beside the run's own.
fs::path folder_of_state(const RunFolder& folder, std::int64_t step) {
  std::vector<std::int64_t> all;
  for (const fs::path& place : {folder.checkpoints(), folder.opened()}) {
    const CheckpointStore store(place);
    const std::vector<std::int64_t> steps = store.list();
    if (std::find(steps.begin(), steps.end(), step) != steps.end()) return store.path_of(step);
    all.insert(all.end(), steps.begin(), steps.end());
  }
  throw Error("the run has no checkpoint of this step")
      .values(fmt::format("one of {}", fmt::join(all, ", ")), fmt::format("--step {}", step))
      .at(folder.checkpoints().string())
      .hint("run.keep and run.anchor_every say which checkpoints stay");
}

}  // namespace

Checkpoint open_saved_checkpoint(const RunFolder& folder, const Ledger& ledger, ThreadPool& pool,
                                 std::optional<std::int64_t> step) {
  const auto refusal = [&](const CheckpointInfo& info) { return why_not_of_ledger(info, ledger); };
  if (!step) {
    const CheckpointStore store(folder.checkpoints());
    auto newest = store.newest_good(pool, refusal, CheckpointStore::Extras::kRefused);
    if (newest.checkpoint) return std::move(*newest.checkpoint);
    throw Error("the run has no good checkpoint")
        .values("at least one", fmt::format("none ({})", fmt::join(newest.problems, "; ")))
        .at(folder.checkpoints().string());
  }
  Checkpoint checkpoint = Checkpoint::open(folder_of_state(folder, *step));
  require_equal(*step, checkpoint.info().step, "a checkpoint lies in the directory of another step",
                checkpoint.path().string());
  if (const std::string reason = refusal(checkpoint.info()); !reason.empty()) {
    throw Error("the checkpoint cannot be used")
        .values("one that belongs to this run", reason)
        .at(checkpoint.path().string());
  }
  checkpoint.require_exact(pool);
  return checkpoint;
}

Tokenizer load_run_tokenizer(const RunFolder& folder) {
  const Digest contract = open_run_ledger(folder).genesis().contract;
  const std::string text = read_untrusted(folder.contract(), kMostContractBytes);
  require_equal(to_hex(contract), to_hex(sha256(text)), "contract.json is not the contract of the ledger",
                folder.contract().string());
  const nlohmann::json members = parse_canonical_json(text, folder.contract().string());
  Tokenizer tokenizer = Tokenizer::load(folder.tokenizer());
  require_equal(members.at("tokenizer").dump(), fmt::format("\"{}\"", to_hex(tokenizer.digest())),
                "the tokenizer is not the one of the contract", folder.tokenizer().string());
  return tokenizer;
}

SavedModel::SavedModel(const RunFolder& folder, ThreadPool& pool, Kernels& kernels, Arena& arena,
                       std::optional<std::int64_t> step)
    : experiment_(load_run_experiment(folder.root, {})),
      declared_(declare_parameters(experiment_.model, experiment_.numerics.tensor_grains)),
      parameters_({.groups = declared_.groups,
                   .types = element_types(experiment_.numerics),
                   .slice_count = experiment_.numerics.tensor_grains,
                   .training = false},
                  kernels, arena) {
  Checkpoint checkpoint = open_saved_checkpoint(folder, open_run_ledger(folder), pool, step);
  info_ = checkpoint.info();
  load(checkpoint, kernels);
}

Generator::Args SavedModel::generator_args(Kernels& kernels) {
  return {.kernels = kernels,
          .parameters = parameters_,
          .model = experiment_.model,
          .declared = declared_,
          .types = element_types(experiment_.numerics),
          .tensor_grains = experiment_.numerics.tensor_grains,
          .rope_theta = stage().rope_theta,
          .positions = stage().context};
}

void SavedModel::load(Checkpoint& checkpoint, Kernels& kernels) {
  // Weights only: each slice is read as fp32 and rounded to the compute type, as the optimizer would publish it.
  std::vector<float> master;
  for (const ParameterSlice& slice : parameters_.slices()) {
    const std::int64_t count = slice.weight.size();
    master.resize(static_cast<std::size_t>(count));
    const StateShard shard{.tensor = &slice.spec->logical,
                           .slice = slice.slice,
                           .begin = 0,
                           .count = count,
                           .values = {master.data(), nullptr, nullptr}};
    checkpoint.load(std::span(&shard, 1));
    kernels.cast({.in = Tensor(master.data(), DType::kFloat32, {count}), .out = slice.weight});
  }
}

}  // namespace baekji
