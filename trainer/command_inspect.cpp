#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/checkpoint.h"
#include "core/arena.h"
#include "core/printable.h"
#include "data/token_store.h"
#include "proof/ledger.h"
#include "trainer/commands.h"
#include "trainer/ledger_rules.h"
#include "trainer/run_experiment.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

using nlohmann::ordered_json;

std::int64_t logical_parameters(const Checkpoint& checkpoint) {
  std::int64_t count = 0;
  for (const LogicalTensor& tensor : checkpoint.tensors()) count += tensor.elements();
  return count;
}

ordered_json describe_checkpoint(const Checkpoint& checkpoint) {
  const CheckpointInfo& info = checkpoint.info();
  ordered_json out = {{"kind", "checkpoint"},
                      {"path", checkpoint.path().string()},
                      {"step", info.step},
                      {"updates", info.updates},
                      {"tokens", info.tokens},
                      {"contract", to_hex(info.contract)},
                      {"state_root", to_hex(info.state_root)},
                      {"parameters", logical_parameters(checkpoint)},
                      {"tensor_grains", info.tensor_grains},
                      {"size_bytes", checkpoint.size_bytes()},
                      {"tensors", ordered_json::object()}};
  for (const LogicalTensor& tensor : checkpoint.tensors()) out["tensors"][tensor.name] = tensor.shape;
  return out;
}

ordered_json describe_run(const RunFolder& folder) {
  const Experiment experiment = load_run_experiment(folder.root, {});
  const Ledger ledger = open_run_ledger(folder);
  ThreadPool pool(1);
  const CheckpointStore store(folder.checkpoints());
  auto newest = store.newest_good(pool, [&](const CheckpointInfo& info) {
    return ledger.state_root_of(info.step) == info.state_root ? std::string()
                                                              : "its state root is not in this run's ledger";
  });
  ordered_json out = {{"kind", "run"}, {"path", folder.root.string()}, {"name", experiment.identity.name}};
  if (newest.checkpoint) {
    out["step"] = newest.checkpoint->info().step;
    out["contract"] = to_hex(newest.checkpoint->info().contract);
    out["state_root"] = to_hex(newest.checkpoint->info().state_root);
    out["tokens"] = newest.checkpoint->info().tokens;
  } else {  // nothing saved yet: the run stands at its genesis
    out["step"] = 0;
    out["contract"] = to_hex(ledger.genesis().contract);
    out["state_root"] = to_hex(ledger.genesis().state_root);
    out["tokens"] = 0;
  }
  out["parameters"] = parameter_count(experiment.model);
  out["precision"] = experiment.numerics.precision;
  out["ledger"] = {{"records", ledger.record_count()},
                   {"last_step", ledger.last_step()},
                   {"head", to_hex(ledger.head())},
                   {"torn_bytes", ledger.torn_bytes()}};
  out["checkpoints"] = store.list();
  if (!newest.problems.empty()) out["problems"] = newest.problems;
  return out;
}

ordered_json describe_store(const std::filesystem::path& path) {
  const TokenStore store = TokenStore::open(path);
  const TokenStoreInfo& info = store.info();
  return {{"kind", "token store"},
          {"path", path.string()},
          {"tokens", info.tokens},
          {"training_tokens", store.train_tokens()},
          {"documents", info.documents},
          {"training_documents", info.training_documents},
          {"vocabulary", info.vocabulary},
          {"bytes_per_token",
           static_cast<double>(info.text_bytes) / static_cast<double>(std::max<std::int64_t>(info.tokens, 1))},
          {"tokenizer", to_hex(info.tokenizer_digest)},
          {"data_root", to_hex(store.data_root())},
          {"document_root", to_hex(info.document_root)},
          {"licence", info.licence},
          {"inputs", info.inputs}};
}

ordered_json describe(const std::filesystem::path& path) {
  FileSystem& files = posix_file_system();
  if (files.exists(path / "manifest.json")) return describe_checkpoint(Checkpoint::open(path));
  if (files.exists(path / "ledger.jsonl")) return describe_run(open_run_folder(path));
  if (std::filesystem::is_regular_file(path)) return describe_store(path);
  throw Error("nothing to inspect")
      .values("a run folder, a checkpoint or a token store", "none of them")
      .at(path.string());
}

// ASCII alone, so that no name in a file can do more than be shown; bytes that are not UTF-8 are no reason to fail.
std::string plain_json(const ordered_json& value, int indent) {
  return value.dump(indent, ' ', true, ordered_json::error_handler_t::replace);
}

void print_plain(const ordered_json& value) {
  constexpr std::size_t kMostTensors = 12;
  for (const auto& [key, member] : value.items()) {
    if (key == "tensors") {
      std::size_t shown = 0;
      for (const auto& [name, shape] : member.items()) {
        if (shown++ < kMostTensors) fmt::print("  {:<32} {}\n", printable(name), shape.dump());
      }
      if (shown > kMostTensors) fmt::print("  ... and {} more\n", shown - kMostTensors);
    } else {
      fmt::print("{:<20} {}\n", key,
                 printable(member.is_string() ? member.get<std::string>() : plain_json(member, -1)));
    }
  }
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  struct InspectArguments {
    std::string path;
    bool json = false;
  };
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "what is in a run, a checkpoint or a token store");
  command->add_option("path", arguments->path, "run folder, checkpoint folder or token store")->required();
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->callback([arguments] {
    const ordered_json value = describe(arguments->path);
    if (arguments->json)
      fmt::print("{}\n", plain_json(value, 1));
    else
      print_plain(value);
  });
}

}  // namespace baekji
