#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/thread_pool.h"
#include "proof/contract.h"
#include "proof/genesis.h"
#include "proof/ledger.h"
#include "proof/state_root.h"
#include "trainer/commands.h"
#include "trainer/ledger_rules.h"
#include "trainer/run_experiment.h"
#include "trainer/saved_model.h"
#include "trainer/verify_run.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

struct ChunksArguments {
  std::string path;
  std::string output;
  std::int64_t step = -1;
};

/// A state that can be had a slice at a time: a checkpoint's, or step 0 computed again.
struct ExportedState {
  std::int64_t step = 0;
  Digest contract{};
  Digest state_root{};
  std::vector<LogicalTensor> tensors;  ///< sorted by name
  std::function<void(const StateShard&)> fill;
};

ExportedState state_of_checkpoint(Checkpoint opened) {
  auto checkpoint = std::make_shared<Checkpoint>(std::move(opened));
  const CheckpointInfo& info = checkpoint->info();
  return {.step = info.step,
          .contract = info.contract,
          .state_root = info.state_root,
          .tensors = checkpoint->tensors(),
          .fill = [checkpoint](const StateShard& shard) { checkpoint->load(std::span(&shard, 1)); }};
}

// No checkpoint of step 0 exists: it is computed from the experiment as a run would, and must have the ledger's root.
ExportedState state_of_genesis(const RunFolder& folder, const Ledger& ledger, ThreadPool& pool) {
  const Experiment experiment = load_run_experiment(folder.root, {});
  const ModelParameters declared = declare_parameters(experiment.model, experiment.numerics.tensor_grains);
  ExportedState state{.contract = ledger.genesis().contract, .state_root = ledger.genesis().state_root};
  std::map<std::string, Initialisation> initialisations;
  for (const ParameterGroup& group : declared.groups) {
    for (const ParameterSpec& member : group.members) {
      state.tensors.push_back(member.logical);
      initialisations[member.logical.name] = member.initialisation;
    }
  }
  std::sort(state.tensors.begin(), state.tensors.end(),
            [](const LogicalTensor& a, const LogicalTensor& b) { return a.name < b.name; });
  VerifyReport quiet({});
  const std::uint64_t seed = open_verified(folder.root, quiet).seed;
  state.fill = [initialisations, seed, &pool](StateShard shard) {
    shard.initialisation = initialisations.at(shard.tensor->name);
    fill_genesis(shard, seed, pool);
  };
  return state;
}

ExportedState find_state(const ChunksArguments& a, ThreadPool& pool) {
  const auto require_step = [&](std::int64_t step, const std::string& place) {
    if (a.step >= 0) require_equal(a.step, step, "the checkpoint is of another step", place);
  };
  if (posix_file_system().exists(fs::path(a.path) / "manifest.json")) {
    Checkpoint checkpoint = Checkpoint::open(a.path);
    checkpoint.require_exact(pool);
    require_step(checkpoint.info().step, a.path);
    return state_of_checkpoint(std::move(checkpoint));
  }
  const RunFolder folder = open_run_folder(a.path);
  const Ledger ledger = open_run_ledger(folder);
  if (a.step == 0) return state_of_genesis(folder, ledger, pool);
  return state_of_checkpoint(
      open_saved_checkpoint(folder, ledger, pool, a.step > 0 ? std::optional(a.step) : std::nullopt));
}

// The bytes on the disk are the array's.
static_assert(std::endian::native == std::endian::little);
void write_slice(const fs::path& path, std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  posix_file_system().write(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

nlohmann::json describe_state(const ExportedState& state) {
  constexpr std::array<std::string_view, 3> kSplits{"none", "rows", "columns"};
  nlohmann::json tensors = nlohmann::json::array();
  for (const LogicalTensor& tensor : state.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"padded_rows", tensor.padded_rows},
                       {"shape", tensor.shape},
                       {"slices", tensor.slices},
                       {"split", kSplits[static_cast<std::size_t>(tensor.split)]}});
  }
  return {{"format", "baekji.chunks.v1"},
          {"step", state.step},
          {"contract", to_hex(state.contract)},
          {"state_root", to_hex(state.state_root)},
          {"tensors", std::move(tensors)}};
}

// Writes every slice and gives the leaves of what was written. Holds one slice at a time: 12 bytes for each element.
std::vector<StateLeaf> write_slices(const ExportedState& state, const fs::path& folder, ThreadPool& pool) {
  FileSystem& files = posix_file_system();
  std::vector<StateLeaf> leaves;
  std::array<std::vector<float>, 3> values;
  for (const LogicalTensor& tensor : state.tensors) {
    StateShard shard{.tensor = &tensor, .count = tensor.slice_elements()};
    for (const StateKind kind : kStateKinds) {
      files.create_directories(folder / name_of(kind) / tensor.name);
      std::vector<float>& array = values[static_cast<std::size_t>(kind)];
      array.resize(static_cast<std::size_t>(shard.count));
      shard.values[static_cast<std::size_t>(kind)] = array.data();
    }
    for (shard.slice = 0; shard.slice < tensor.slices; ++shard.slice) {
      state.fill(shard);
      std::vector<StateLeaf> own = state_leaves(std::span(&shard, 1), pool);
      leaves.insert(leaves.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
      for (const StateKind kind : kStateKinds) {
        write_slice(folder / name_of(kind) / tensor.name / fmt::format("{}.f32", shard.slice),
                    values[static_cast<std::size_t>(kind)]);
      }
    }
  }
  return leaves;
}

void export_chunks(const ChunksArguments& a) {
  FileSystem& files = posix_file_system();
  fs::path output = fs::absolute(a.output).lexically_normal();
  if (!output.has_filename()) output = output.parent_path();  // "DIR/"
  if (files.exists(output))
    throw Error("the folder for the chunks is already there")
        .values("no such folder", "something of that name")
        .at(output.string())
        .hint("give another --output, or remove it");
  ThreadPool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  const ExportedState state = find_state(a, pool);
  // Under another name first: a folder of the final name is whole, and its root was checked.
  fs::path partial = output;
  partial += ".partial";
  files.remove_all(partial);
  try {
    files.create_directories(partial);
    const Digest root = state_root(write_slices(state, partial, pool));
    require_equal(to_hex(state.state_root), to_hex(root), "the state has another root than is recorded", a.path);
    files.write(partial / "chunks.json", canonical_json(describe_state(state)) + "\n");
    files.rename(partial, output);
  } catch (...) {
    std::error_code ignored;  // the failure before is the one to report
    fs::remove_all(partial, ignored);
    throw;
  }
  fmt::print("step {}, state root {}: {} tensors in {}\n", state.step, to_hex(state.state_root), state.tensors.size(),
             output.string());
}

}  // namespace

void add_chunks_command(CLI::App& app) {
  auto a = std::make_shared<ChunksArguments>();
  CLI::App* command = app.add_subcommand("chunks", "write a saved state as plain files that anyone can hash");
  command->add_option("path", a->path, "run folder (its newest good checkpoint) or checkpoint folder")->required();
  command->add_option("--output", a->output, "folder to make")->required();
  command->add_option("--step", a->step, "the checkpoint of this step; 0 is computed again from the experiment")
      ->check(CLI::NonNegativeNumber);
  command->callback([a] { export_chunks(*a); });
}

}  // namespace baekji
