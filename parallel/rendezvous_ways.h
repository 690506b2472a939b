#pragma once
// The two ways in which share_blob (parallel/rendezvous.h) goes about it.

#include <string>
#include <vector>

#include "parallel/rendezvous.h"

namespace baekji {

struct FileRendezvous {
  std::string path;
  JobRank here;
  double limit_s = 600;
};
/// Rank r puts a fresh number into PATH.rank-r. Rank 0 writes PATH when all have: the blob, and every number that it
/// has seen. A rank takes a PATH with its own number and removes its file; rank 0 removes PATH when the ranks' files
/// are gone.
std::string share_by_file(const FileRendezvous& args, const std::string& blob);

struct TcpRendezvous {
  std::string host;
  std::string port;
  JobRank here;
  double limit_s = 600;
};
/// Rank 0 listens at the port; the others connect, say who they are, and get the blob when all are there.
std::string share_by_tcp(const TcpRendezvous& args, const std::string& blob);

/// "ranks 3, 5, 6 and 12 others"
std::string list_ranks(const std::vector<int>& ranks);

}  // namespace baekji
