#pragma once
// Calibration: what this machine reaches, as the figures of a cluster file: `baekji bench`.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "parallel/communicator.h"
#include "parallel/launch.h"
#include "plan/cluster.h"

namespace baekji {

struct CalibrationArgs {
  std::filesystem::path storage;  ///< a folder on the file system that checkpoints will be on
  /// A cluster file whose figures stand where nothing is measured (power, failures, peaks), with their sources; empty:
  /// those stay 0, and a peak is what was measured.
  std::filesystem::path base;
  std::string name;  ///< of the cluster; empty: the device's
  MachineShare machine;
  int repeats = 3;  ///< of products and attention: a shared machine is at its best now and then
  std::int64_t storage_bytes = std::int64_t{1} << 30;   ///< written and read by each rank
  std::int64_t message_bytes = std::int64_t{64} << 20;  ///< of all ranks together, in a collective
};

struct Calibration {
  Cluster cluster;
  nlohmann::json sources;  ///< as cluster_toml() takes them

  /// The figures with their sources, for people.
  std::string describe() const;
};

/// Measures products, copies, attention, small operations and storage on every rank at the same time, and collectives
/// between the ranks of a machine and between machines. A figure is that of the slowest rank. Takes some seconds.
/// Collective on `world`, whose ranks have a device each. Throws when the storage has no room.
Calibration calibrate(Kernels& kernels, ThreadPool& pool, Communicator& world, const CalibrationArgs& args);

}  // namespace baekji
