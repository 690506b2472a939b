#include "trainer/saved_model.h"

#include <algorithm>

#include "proof/ledger.h"

namespace baekji {

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

Checkpoint newest_good_checkpoint(const RunFolder& folder, ThreadPool& pool) {
  const Ledger ledger = Ledger::open_read_only(folder.ledger());
  auto newest = CheckpointStore(folder.checkpoints()).newest_good(pool, [&](const CheckpointInfo& info) {
    return ledger.state_root_known(info.state_root) ? std::string() : "its state root is not in this run's ledger";
  });
  if (!newest.checkpoint) {
    throw Error("the run has no good checkpoint")
        .values("at least one", fmt::format("none ({})", fmt::join(newest.problems, "; ")))
        .at(folder.checkpoints().string());
  }
  return std::move(*newest.checkpoint);
}

SavedModel::SavedModel(const RunFolder& folder, ThreadPool& pool, Kernels& kernels, Arena& arena)
    : experiment_(load_experiment(folder.experiment(), {})),
      declared_(declare_parameters(experiment_.model, experiment_.numerics.tensor_grains)),
      parameters_({.groups = declared_.groups,
                   .types = element_types(experiment_.numerics),
                   .slice_count = experiment_.numerics.tensor_grains,
                   .training = false},
                  kernels, arena) {
  Checkpoint checkpoint = newest_good_checkpoint(folder, pool);
  info_ = checkpoint.info();
  load(checkpoint);
}

void SavedModel::load(Checkpoint& checkpoint) {
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
    if (slice.weight.type() == DType::kFloat32)
      std::copy(master.begin(), master.end(), slice.weight.as<float>());
    else
      std::transform(master.begin(), master.end(), slice.weight.as<Bfloat16>(),
                     [](float value) { return Bfloat16(value); });
  }
}

}  // namespace baekji
