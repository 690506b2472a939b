#pragma once
// The experiment of a run folder that somebody else may have made: what decides bits is read, and nothing else of it is
// obeyed.

#include <filesystem>
#include <span>
#include <string>

#include "trainer/experiment.h"

namespace baekji {

/// Reads RUN/experiment.toml (`folder` is RUN). It may extend no other file. Its [layout], [run] and [log] are dropped:
/// defaults stand in their place, and over them the caller's own keys of [layout] ("tensor=2" or "layout.tensor=2").
/// The tokenizer is the copy in the folder. The stores of [data] keep their paths: use_stores() changes them. Throws as
/// load_experiment() does, on keys of the caller that are none of [layout], and on figures that no model has.
Experiment load_run_experiment(const std::filesystem::path& folder, std::span<const std::string> layout_overrides);

/// Puts the caller's own token stores in place of those that the run names: "NAME=PATH" for each. Throws when the run
/// has no source of that name, or a name comes twice.
void use_stores(Experiment& experiment, std::span<const std::string> stores);

}  // namespace baekji
