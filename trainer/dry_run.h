#pragma once
// What a run would be, without data, ranks or training: `train --dry-run`.

#include <filesystem>
#include <string>

#include "trainer/experiment.h"

namespace baekji {

struct DryRunOptions {
  std::filesystem::path timeline;  ///< where to draw the pipeline's step (SVG); empty: nowhere
  std::filesystem::path schedule;  ///< where to write its schedule as text; empty: nowhere
};

/// Mesh, stages, schedule and planned memory of each pipeline rank, as text; and the files that are asked for, for the
/// first training stage.
std::string dry_run(const Experiment& experiment, const DryRunOptions& options);

}  // namespace baekji
