#pragma once
// Launch: this process as a rank of a job. The one place that starts and ends MPI.

#include <cstdint>
#include <memory>
#include <string>

#include "parallel/rendezvous.h"

namespace baekji {

/// `text` with `label` and a colon before each line, so that lines of ranks that speak at once can be told apart.
std::string labelled(const std::string& label, const std::string& text);

/// The ranks of the job that share a machine, its processors and its GPUs, and which of them this one is.
struct MachineShare {
  int ranks = 1;
  int rank = 0;
};

class Launch {
 public:
  /// Joins the job (a job of one when mpirun did not start this process). Once per process.
  Launch();
  /// The same without MPI: the launcher has said who this process is (rank_from_environment).
  explicit Launch(const JobRank& rank);
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  std::int64_t rank() const { return rank_; }
  std::int64_t size() const { return size_; }
  MachineShare machine() const { return machine_; }

  /// Ends every rank of the job at once, after printing `message` with `label` before each line ("rank 3" when empty;
  /// nothing in a job of one). What makes one rank fail often makes all fail: only one rank of a machine prints, and
  /// another machine leaves the first word to that of rank 0. Without MPI each rank prints, and ends itself: the
  /// launcher ends the others, or their own waits do (NcclOptions).
  [[noreturn]] void abort(const std::string& message, const std::string& label = "") const;

 private:
  class Turn;

  bool mpi_ = true;
  std::int64_t rank_ = 0;
  std::int64_t size_ = 1;
  MachineShare machine_;
  std::unique_ptr<Turn> turn_;
};

}  // namespace baekji
