#include "parallel/group_nccl.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "core/cuda_check.h"
#include "parallel/collective_errors.h"

namespace baekji {
namespace {

// How long something has lasted that the host polls for. Most of it is short, and spins.
class Patience {
 public:
  double waited_s() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void pause() const {
    constexpr double kSpin_s = 0.001;
    if (waited_s() > kSpin_s) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

CudaEvent::CudaEvent() {
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
}

CudaEvent::~CudaEvent() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

CudaEvent::CudaEvent(CudaEvent&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

CudaEvent& CudaEvent::operator=(CudaEvent&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

NcclGroup::NcclGroup(Args args) : args_(std::move(args)) {
  // A blocking stream: plain copies (core/device.h) come after its work.
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamDefault), "cudaStreamCreate");
  try {
    start();
  } catch (...) {
    abort();
    cudaStreamDestroy(stream_);
    throw;
  }
  args_.job->groups.push_back(this);
}

// Not blocking, so that a rank that does not come, or is lost, is an error instead of a call that never returns.
void NcclGroup::start() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  accept(ncclCommInitRankConfig(&comm_, args_.size, args_.id, args_.rank, &config));
  settle();
  if (args_.size == 2) connect_pair();
}

// NCCL connects two ranks at their first message, and until the other rank comes to receive it the sender's call does
// not settle. An edge of the pipeline must begin to send without that, so it connects now, both ways at once.
void NcclGroup::connect_pair() {
  constexpr std::int64_t kBytes = 512;
  constexpr std::size_t kHalf = 256;
  void* const memory = allocate_memory(args_.job->device, kBytes);
  if (memory == nullptr) throw Error("out of memory").at(args_.place());
  const int other = 1 - args_.rank;
  try {
    accept(ncclGroupStart());
    accept(ncclSend(memory, kHalf, ncclUint8, other, comm_, stream_));
    accept(ncclRecv(static_cast<std::byte*>(memory) + kHalf, kHalf, ncclUint8, other, comm_, stream_));
    accept(ncclGroupEnd());
    settle();
    wait();
  } catch (...) {
    abort();  // or freeing would wait for the other rank
    free_memory(args_.job->device, memory, kBytes);
    throw;
  }
  free_memory(args_.job->device, memory, kBytes);
}

NcclGroup::~NcclGroup() {
  std::erase(args_.job->groups, this);
  if (comm_ != nullptr && std::uncaught_exceptions() == 0 && finalised())
    ncclCommDestroy(comm_);
  else
    abort();
  cudaStreamDestroy(stream_);
}

void NcclGroup::abort() noexcept {
  if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
}

void NcclGroup::give_up() noexcept {
  args_.job->broken = true;
  abort();
  for (NcclGroup* const group : args_.job->groups) group->abort();
}

// Whether all that was called is done on every rank.
bool NcclGroup::finalised() noexcept {
  const ncclResult_t code = ncclCommFinalize(comm_);
  if (code != ncclSuccess && code != ncclInProgress) return false;
  const Patience patience;
  ncclResult_t state = ncclInProgress;
  while (ncclCommGetAsyncError(comm_, &state) == ncclSuccess && state == ncclInProgress) {
    if (patience.waited_s() > args_.job->watch->limit_s) return false;
    patience.pause();
  }
  return state == ncclSuccess;
}

void NcclGroup::begin(const CollectiveCall& call) {
  if (comm_ == nullptr) throw Error("NCCL has failed before").at(args_.place());
  last_ = call;
  check_cuda(cudaEventRecord(ready_.get(), args_.job->compute), "cudaEventRecord");
  check_cuda(cudaStreamWaitEvent(stream_, ready_.get(), 0), "cudaStreamWaitEvent");
}

void NcclGroup::accept(ncclResult_t code) {
  if (code != ncclSuccess && code != ncclInProgress) fail(code);
}

void NcclGroup::settle() {
  const Patience patience;
  for (;;) {
    ncclResult_t state = ncclInProgress;
    accept(ncclCommGetAsyncError(comm_, &state));
    accept(state);
    if (state == ncclSuccess) return;
    if (patience.waited_s() > args_.job->watch->limit_s) stuck();
    patience.pause();
  }
}

void NcclGroup::join() {
  check_cuda(cudaEventRecord(done_.get(), stream_), "cudaEventRecord");
  check_cuda(cudaStreamWaitEvent(args_.job->compute, done_.get(), 0), "cudaStreamWaitEvent");
}

CudaEvent NcclGroup::mark() {
  CudaEvent event = spare_.empty() ? CudaEvent() : std::move(spare_.back());
  if (!spare_.empty()) spare_.pop_back();
  check_cuda(cudaEventRecord(event.get(), stream_), "cudaEventRecord");
  return event;
}

void NcclGroup::join(CudaEvent event) {
  check_cuda(cudaStreamWaitEvent(args_.job->compute, event.get(), 0), "cudaStreamWaitEvent");
  spare_.push_back(std::move(event));
}

void NcclGroup::wait() {
  const Patience patience;
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state != cudaErrorNotReady) return check_cuda(state, "cudaStreamQuery");
    check(patience.waited_s());
    patience.pause();
  }
}

void NcclGroup::check(double waited_s) {
  if (comm_ == nullptr) return;
  ncclResult_t state = ncclSuccess;
  accept(ncclCommGetAsyncError(comm_, &state));
  accept(state);
  if (waited_s > args_.job->watch->limit_s && cudaStreamQuery(stream_) == cudaErrorNotReady) stuck();
}

void NcclGroup::fail(ncclResult_t code) {
  const char* const last = comm_ == nullptr ? nullptr : ncclGetLastError(comm_);
  const std::string more = last == nullptr || *last == 0 ? "" : fmt::format(": {}", last);
  give_up();
  const char* hint = "NCCL_DEBUG=INFO makes NCCL say more; the last checkpoint stands";
  if (code == ncclInvalidUsage)
    hint = "NCCL refuses two ranks on one GPU: there, use layout.communicator = \"mpi\"; NCCL_DEBUG=INFO says more";
  if (code == ncclRemoteError) hint = "another rank has ended or cannot be reached; the last checkpoint stands";
  throw Error(fmt::format("NCCL failed in {}", last_.describe()))
      .values("ncclSuccess", ncclGetErrorString(code) + more)
      .at(args_.place())
      .hint(hint);
}

void NcclGroup::stuck() {
  give_up();
  const std::string whom = args_.size == 2 ? "the other rank of the pair" : fmt::format("some of {} ranks", args_.size);
  throw stuck_collective(last_, *args_.job->watch, whom + " has not come, or does not finish", args_.place());
}

}  // namespace baekji
