#include "parallel/launch.h"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/error.h"

namespace baekji {

std::string labelled(const std::string& label, const std::string& text) {
  std::string result;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    result += fmt::format("{}: {}\n", label, text.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

// Which rank of this machine prints why the job ends: a flag in memory that they share, because a rank that is stopped,
// or has ended, answers no message.
class Launch::Turn {
 public:
  Turn() {
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine_);
    MPI_Comm_rank(machine_, &rank_);
    MPI_Comm_size(machine_, &size_);
    MPI_Comm_rank(MPI_COMM_WORLD, &first_);
    MPI_Allreduce(MPI_IN_PLACE, &first_, 1, MPI_INT, MPI_MIN, machine_);
    MPI_Comm_set_errhandler(machine_, MPI_ERRORS_RETURN);
    void* own = nullptr;
    const MPI_Aint mine = rank_ == 0 ? kBytes : 0;
    // An MPI that shares no memory: every rank has its say.
    if (MPI_Win_allocate_shared(mine, 1, MPI_INFO_NULL, machine_, &own, &window_) != MPI_SUCCESS) return;
    MPI_Aint bytes = 0;
    int unit = 0;
    MPI_Win_shared_query(window_, 0, &bytes, &unit, &taken_);
    if (rank_ == 0) *static_cast<Flag*>(taken_) = 0;
    MPI_Barrier(machine_);
  }
  ~Turn() {
    if (taken_ != nullptr) MPI_Win_free(&window_);
    MPI_Comm_free(&machine_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  MachineShare machine() const { return {.ranks = size_, .rank = rank_}; }
  bool with_rank_0() const { return first_ == 0; }
  bool take() const { return taken_ == nullptr || std::atomic_ref(*static_cast<Flag*>(taken_)).exchange(1) == 0; }

 private:
  using Flag = std::int64_t;
  static_assert(std::atomic_ref<Flag>::is_always_lock_free, "other processes take the flag too");
  static constexpr MPI_Aint kBytes = sizeof(Flag);

  MPI_Comm machine_ = MPI_COMM_NULL;
  MPI_Win window_ = MPI_WIN_NULL;
  int rank_ = 0;
  int size_ = 1;
  int first_ = 0;  // of its ranks, in the job
  void* taken_ = nullptr;
};

Launch::Launch() {
  if (MPI_Init(nullptr, nullptr) != MPI_SUCCESS) throw Error("MPI did not start").hint("start the program with mpirun");
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  rank_ = rank;
  size_ = size;
  if (size == 1) return;
  turn_ = std::make_unique<Turn>();
  machine_ = turn_->machine();
}

Launch::Launch(const JobRank& rank)
    : mpi_(false), rank_(rank.rank), size_(rank.size), machine_{.ranks = rank.local_size, .rank = rank.local_rank} {}

Launch::~Launch() {
  turn_.reset();
  if (mpi_) MPI_Finalize();
}

void Launch::abort(const std::string& message, const std::string& label) const {
  const std::string name = label.empty() ? fmt::format("rank {}", rank_) : label;
  if (size_ == 1 || !mpi_) {  // nobody that this rank could end: leave without MPI_Abort's banner
    const std::string text = size_ == 1 ? message + "\n" : labelled(name, message);
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
    if (mpi_) MPI_Finalize();
    std::_Exit(1);
  }
  // Time enough for the rank that goes first to end the job; after that nobody waits for it.
  constexpr auto kOtherMachines = std::chrono::seconds(1);
  constexpr auto kOthers = std::chrono::seconds(10);
  if (turn_->take()) {
    if (!turn_->with_rank_0()) std::this_thread::sleep_for(kOtherMachines);
    const std::string text = labelled(name, message);
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  } else {
    std::this_thread::sleep_for(kOthers);
  }
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::abort();  // MPI_Abort does not return, but says so nowhere
}

}  // namespace baekji
