#pragma once
// Published training rows (published_steps.csv, each with its source) as workloads on clusters, by rules and not by
// name.

#include <string>
#include <vector>

#include "plan/cluster.h"
#include "plan/profile.h"
#include "plan/workload.h"

namespace baekji {

struct PublishedStep {
  std::string id, group, model, kind;  ///< group: the id's prefix; kind: "bf16" (fp16, too), "fp8" or "fp4"
  std::string printed_precision;
  Workload workload;
  Cluster cluster;
  std::string profile;
  double tokens_per_s_per_device = 0;
  bool core = false;  ///< of the sources with full layouts and clean definitions
};

struct PublishedSteps {
  std::vector<PublishedStep> steps;
  /// The rows left out: id and the rule.
  std::vector<std::pair<std::string, std::string>> left_out;
};
PublishedSteps read_published_steps();

/// Cells of a line of comma-separated values; quotes keep commas.
std::vector<std::string> csv_cells(const std::string& line);

}  // namespace baekji
