#pragma once
// What a run would be, without data, ranks or training: `train --dry-run`.

#include <cstdint>
#include <filesystem>
#include <string>

#include "trainer/experiment.h"

namespace baekji {

struct DryRunOptions {
  std::filesystem::path timeline;  ///< where to draw the pipeline's step (SVG); empty: nowhere
  std::filesystem::path schedule;  ///< where to write its schedule as text; empty: nowhere
  std::int64_t ranks = 0;          ///< rehearse a job of so many; 0: do not
};

/// Mesh, stages, schedule and planned memory of each pipeline rank (or, with `ranks`, the whole job's rehearsal), as
/// text; and the files that are asked for, for the first training stage.
std::string dry_run(const Experiment& experiment, const DryRunOptions& options);

}  // namespace baekji
