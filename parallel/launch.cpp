#include "parallel/launch.h"

#include <fmt/format.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>

#include "core/error.h"

namespace baekji {

Launch::Launch() {
  if (MPI_Init(nullptr, nullptr) != MPI_SUCCESS) throw Error("MPI did not start").hint("start the program with mpirun");
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  rank_ = rank;
  size_ = size;
  MPI_Comm machine = MPI_COMM_NULL;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &machine) == MPI_SUCCESS) {
    MPI_Comm_size(machine, &ranks_on_machine_);
    MPI_Comm_free(&machine);
  }
}

Launch::~Launch() {
  MPI_Finalize();
}

void Launch::abort(const std::string& message) const {
  fmt::print(stderr, "rank {} of {}: {}\n", rank_, size_, message);
  std::fflush(stderr);
  if (size_ == 1) {  // nobody else to end: leave without MPI_Abort's banner
    MPI_Finalize();
    std::_Exit(1);
  }
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::abort();  // MPI_Abort does not return, but says so nowhere
}

}  // namespace baekji
