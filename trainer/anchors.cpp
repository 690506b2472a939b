#include "trainer/anchors.h"

#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/exact_files.h"
#include "core/file_system.h"

namespace baekji {
namespace {

RunPosition position_of(const Ledger& ledger, std::int64_t step) {
  return position_after(parse_step_body(ledger.find_step(step).value(), fmt::format("ledger, step {}", step)));
}

// Throws why the folder is no anchor.
Anchor open_anchor(const std::filesystem::path& path, std::int64_t step, const Ledger& ledger) {
  if (step == 0) throw Error("step 0 comes from the seed alone").values("no folder of it", "one").at(path.string());
  const Checkpoint checkpoint = Checkpoint::open(path);
  require_exact_directory(path, checkpoint.manifest());  // its files when somebody reads them
  const CheckpointInfo& info = checkpoint.info();
  const std::string place = path.string();
  require_equal(step, info.step, "a state lies in the folder of another step", place);
  require_equal(to_hex(ledger.genesis().contract), to_hex(info.contract), "a state of another contract", place);
  const std::optional<Digest> root = ledger.state_root_of(step);
  require_equal(root ? to_hex(*root) : "no root of this step", to_hex(info.state_root),
                "a state that the ledger does not hold", place);
  Anchor anchor{.position = position_of(ledger, step), .root = *root, .checkpoint = path};
  require_equal(anchor.position.updates, info.updates, "the manifest has other updates than the ledger", place);
  require_equal(anchor.position.position, info.position, "the manifest has another data position than the ledger",
                place);
  require_equal(anchor.position.tokens, info.tokens, "the manifest has other tokens than the ledger", place);
  return anchor;
}

// Names that look like a state's and are none. What has a dot (.partial, .rolled-back) says itself that it is not one.
std::vector<std::string> unknown_names(const std::filesystem::path& directory) {
  std::vector<std::string> unknown;
  if (!posix_file_system().exists(directory)) return unknown;
  const CheckpointStore store(directory);
  std::set<std::string> known;
  for (const std::int64_t step : store.list()) known.insert(store.path_of(step).filename().string());
  for (const std::string& name : posix_file_system().list(directory)) {
    if (name.starts_with("step-") && name.find('.') == std::string::npos && !known.contains(name))
      unknown.push_back(name);
  }
  return unknown;
}

}  // namespace

Anchors anchors_of(const RunFolder& folder, const Ledger& ledger,
                   const std::function<void(const std::string&)>& problem) {
  Anchors anchors;
  anchors[0] = Anchor{.position = {}, .root = ledger.genesis().state_root};
  for (const std::filesystem::path& directory : {folder.checkpoints(), folder.opened()}) {
    // Whatever stands there costs one line, not the other checks: also what the standard library throws.
    const auto guarded = [&](const auto& look) {
      try {
        look();
      } catch (const std::exception& error) {
        problem(error.what());
      }
    };
    guarded([&] {
      const CheckpointStore store(directory);
      for (const std::string& name : unknown_names(directory))
        problem(fmt::format("{} is no name of a state", (directory / name).string()));
      for (const std::int64_t step : store.list()) {
        guarded([&] {
          if (!anchors.try_emplace(step, open_anchor(store.path_of(step), step, ledger)).second)
            problem(fmt::format("the state of step {} lies in checkpoints/ and in opened/: keep one", step));
        });
      }
    });
  }
  return anchors;
}

const Anchor& anchor_before(const Anchors& anchors, std::int64_t step) {
  return std::prev(anchors.upper_bound(step))->second;
}

}  // namespace baekji
