#pragma once
// Communicators over MPI: CPU clusters, and several ranks on one machine.

#include <memory>

#include "parallel/communicator.h"

namespace baekji {

struct MpiOptions {
  std::shared_ptr<CommunicatorWatch> watch;  ///< null: a new one
  /// MPI counts in ints and is fastest in pieces that stay in the caches: longer messages go piece by piece.
  std::int64_t piece_bytes = std::int64_t{1} << 20;
};

/// All ranks of the job that `Launch` has joined. Collective. Throws Error when MPI does.
std::unique_ptr<Communicator> make_mpi_communicator(const MpiOptions& options);

}  // namespace baekji
