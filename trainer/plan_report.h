#pragma once
// What `baekji plan` says: texts, JSON and pictures of forecasts.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "trainer/planner.h"

namespace baekji {

/// "4x128x8 interleaved v5, zero 1, recompute none": a candidate in one line.
std::string describe(const Candidate& candidate);

/// The table of the best layouts, and how many were refused for which reason.
std::string search_table(const SearchResult& result, const SearchSpace& space);

/// Where the step's time goes, and what each pipeline rank holds.
std::string step_table(const StepForecast& forecast);
std::string memory_table(const std::vector<RankPlan>& plans, double room_bytes);
std::string run_table(const RunForecast& run, const Experiment& experiment);

nlohmann::json to_json(const StepForecast& forecast);
nlohmann::json to_json(const RunForecast& run);
nlohmann::json to_json(const SearchResult& result);
nlohmann::json to_json(const std::vector<RankPlan>& plans);

std::string memory_chart(const std::vector<RankPlan>& plans, const Cluster& cluster, const std::string& title);
std::string step_chart(const StepForecast& forecast, const std::string& title);

}  // namespace baekji
