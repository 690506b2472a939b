#pragma once
// NcclGroup: what NCCL and CUDA hold for one group of ranks: a communicator, a stream, events. Only for sources that
// need the toolkit.

#include <cuda_runtime.h>
#include <nccl.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace baekji {

class NcclGroup;

/// What the groups of a rank share.
struct NcclJob {
  Device device;
  cudaStream_t compute = nullptr;
  std::shared_ptr<CommunicatorWatch> watch;
  std::vector<NcclGroup*> groups;  ///< those that live
  bool broken = false;             ///< after an error: every group is aborted
};

/// Place in a stream that another stream can wait for.
class CudaEvent {
 public:
  CudaEvent();
  ~CudaEvent();
  CudaEvent(CudaEvent&& other) noexcept;
  CudaEvent& operator=(CudaEvent&& other) noexcept;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class NcclGroup {
 public:
  struct Args {
    ncclUniqueId id{};
    int rank = 0;
    int size = 1;
    std::shared_ptr<NcclJob> job;
    std::function<std::string()> place;  ///< where this rank is, for messages
  };
  /// Collective on the group. Throws Error when not all ranks have come within the watch's limit.
  explicit NcclGroup(Args args);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  ncclComm_t comm() const { return comm_; }
  cudaStream_t stream() const { return stream_; }
  const NcclJob& job() const { return *args_.job; }

  /// The stream goes on after all that the compute stream has been given. `call` is what comes now.
  void begin(const CollectiveCall& call);
  /// For the result of a call of NCCL: throws unless it went well or is going on.
  void accept(ncclResult_t code);
  /// Returns when NCCL has given to the stream what was called.
  void settle();
  /// The compute stream goes on after all that this stream has been given.
  void join();
  /// The same in two steps. Events come back to be used again.
  CudaEvent mark();
  void join(CudaEvent event);

  /// The host waits until the stream is done.
  void wait();
  /// Throws when NCCL has met an error since, or when the stream is not done though somebody has waited for `waited_s`,
  /// longer than the watch's limit.
  void check(double waited_s);
  /// Ends all that the rank's groups have under way, at once: the others may never come to an end of it, and whoever
  /// frees memory would wait for ever. The groups are of no further use.
  void give_up() noexcept;

 private:
  void start();
  void connect_pair();
  bool finalised() noexcept;
  void abort() noexcept;
  [[noreturn]] void fail(ncclResult_t code);
  [[noreturn]] void stuck();

  Args args_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  CudaEvent ready_;
  CudaEvent done_;
  std::vector<CudaEvent> spare_;
  CollectiveCall last_{.kind = CollectiveKind::kSplit};
};

}  // namespace baekji
