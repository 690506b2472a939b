#pragma once
// Search: the layouts that an experiment's numerics allow on so many devices, priced; the best that fit, and why the
// others do not.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "plan/step_forecast.h"

namespace baekji {

/// The layers of each stage of a layout.
using LayersOf = std::function<std::vector<std::int64_t>(const Workload&)>;

/// Lower bound of a rank's memory, cheap to have.
using LeastBytes = std::function<double(const Workload&)>;
/// Ours: weights, gradient sums, fixed point, its part of the optimizer's state, and some of the activations.
double bytes_at_least(const Workload& workload);

/// What bounds a search, beside the workload that it varies.
struct SearchSpace {
  std::int64_t devices = 1;
  std::int64_t most_tensor = 1;  ///< tensor_grains
  bool free_numerics = false;    ///< also micro-batch, replicas and tensor grains: another contract
  std::size_t wanted = 10;       ///< rows
  double room_bytes = 0;         ///< of a device
  LayersOf layers_of = stage_layers;
  LeastBytes least_bytes = bytes_at_least;
};

struct Candidate {
  Workload workload;
  std::int64_t tensor_grains = 1;
  bool other_contract = false;
  StepForecast forecast;
  double memory_bytes = 0;
};

struct SearchResult {
  std::vector<Candidate> best;  ///< that fit, the fastest first
  std::int64_t tried = 0;
  std::map<std::string, std::int64_t> refused;  ///< reason -> layouts
  /// When nothing fits: the layout that misses the device by least. Its memory_bytes is 0 when all was refused before.
  Candidate nearest;
};

/// Bytes that the largest rank of a layout holds; throws Error for layouts that cannot be.
using MemoryOf = std::function<double(const Candidate&)>;

SearchResult search_layouts(const StepQuestion& question, const SearchSpace& space, const MemoryOf& memory_of);

}  // namespace baekji
