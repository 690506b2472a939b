#pragma once
// Launch: this process as a rank of an mpirun job. The one place that starts and ends MPI.

#include <cstdint>
#include <string>

namespace baekji {

class Launch {
 public:
  /// Joins the job (a job of one when mpirun did not start this process). Once per process.
  Launch();
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  std::int64_t rank() const { return rank_; }
  std::int64_t size() const { return size_; }
  /// Ranks of the job that share this machine's processors, this one included.
  int ranks_on_machine() const { return ranks_on_machine_; }

  /// Ends every rank of the job at once, after printing `message` with this rank's number.
  [[noreturn]] void abort(const std::string& message) const;

 private:
  std::int64_t rank_ = 0;
  std::int64_t size_ = 1;
  int ranks_on_machine_ = 1;
};

}  // namespace baekji
