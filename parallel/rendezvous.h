#pragma once
// Rendezvous: how the ranks of a job find each other without MPI. A blob, such as NCCL's unique id, goes from rank 0 to
// all, by a file on a file system that they share or over TCP.

#include <string>

namespace baekji {

/// A process of a job, and which one of its machine it is.
struct JobRank {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;  ///< ranks of its machine
};

/// What the launcher says: RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE (torchrun), or else SLURM_PROCID,
/// SLURM_NTASKS, SLURM_LOCALID and SLURM_NTASKS_PER_NODE (srun). Throws Error when neither is there, or when they make
/// no sense.
JobRank rank_from_environment();

struct RendezvousArgs {
  /// "file:PATH" (in a folder that every rank writes to) or "tcp:HOST:PORT" (where the others reach rank 0; an IPv6
  /// address stands in brackets).
  std::string place;
  JobRank here;
  double limit_s = 600;
};

/// The blob of rank 0, on every rank. Nobody takes what another job, or an earlier start of this one, has left behind:
/// each rank shows a number of its own first, and takes only what answers to it. Throws Error, with the ranks that are
/// missing, when not all have come within the limit.
std::string share_blob(const RendezvousArgs& args, const std::string& blob);

/// Throws Error unless `place` has one of the two forms. `where`: for the message.
void check_rendezvous(const std::string& place, const std::string& where);

}  // namespace baekji
