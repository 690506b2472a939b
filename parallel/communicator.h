#pragma once
// Communicator: ordered collectives of one group of ranks. `self` is the identity, so no layer asks how many ranks
// there are; `threads` runs the ranks in one process; `mpi` is the cluster's; `nccl` is that of GPUs.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "parallel/device_staging.h"

namespace baekji {

/// Reductions that give the same bits in any order: integer sums (which wrap), and maxima (a NaN is the largest of
/// all). There is no floating-point sum: sums over ranks go through the grain tree or through fixed point.
enum class ReduceOp : std::uint8_t { kSumInteger, kMax };

enum class CollectiveKind : std::uint8_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kAllToAll,
  kBroadcast,
  kSend,
  kReceive,
  kBarrier,
  kSplit,
};
std::string_view name_of(CollectiveKind kind);

/// One call on a communicator: what the ranks of its group have to agree on.
struct CollectiveCall {
  CollectiveKind kind = CollectiveKind::kBarrier;
  std::int64_t sequence = 0;  ///< calls on this communicator before this one
  DType type = DType::kFloat32;
  std::int64_t count = 0;   ///< elements of the input
  std::int32_t detail = 0;  ///< the reduction, or the root; the peer in send and receive
  bool operator==(const CollectiveCall&) const = default;
  /// "all_reduce 17 of 128 int64"
  std::string describe() const;
};

/// What the communicators of a job share: how long a rank waits for the others, and what it is busy with.
struct CommunicatorWatch {
#if defined(NDEBUG)
  static constexpr bool kDebug = false;
#else
  static constexpr bool kDebug = true;
#endif
  double limit_s = 600;               ///< a call that takes longer is an error that names who has not arrived
  bool compare_calls = kDebug;        ///< ranks compare their calls before each one, at the cost of a small exchange
  std::atomic<std::int64_t> step{0};  ///< the training step, for messages
  /// What messages call a rank of the job; empty: "rank 3". Set before the communicators are made.
  std::function<std::string(std::int64_t job_rank)> rank_name;
  std::string who(std::int64_t job_rank) const;
};

/// Bytes that this rank has sent, counted as bandwidth-optimal algorithms would send them (docs/parallel.md).
struct Traffic {
  std::int64_t calls = 0;
  std::int64_t sent_bytes = 0;
};

/// Calls on one communicator are collective and happen in the same order on every rank. Tensors are contiguous. A call
/// that the ranks disagree on, or that some rank does not reach in time, throws Error; the communicator is then of no
/// further use.
///
/// The tensors of a call live in one place, the host's memory or a GPU's. Where the back end does not take them from
/// there, the call copies them, after all work that the device has been given, and is done on return. Where it does
/// (`nccl`), results are there for work given to the compute stream later, and the host does not wait.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Traffic of this communicator; those split from it count their own.
  const Traffic& traffic() const { return traffic_; }

  /// Ranks with equal `color` form a new group, ordered by `key`, then by rank. `name` says what it is in messages.
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name);

  /// In place. kSumInteger needs int32 or int64; kMax also takes fp32 and fp64.
  void all_reduce(const Tensor& values, ReduceOp op);
  /// output = this rank's part (of size() equal parts) of the reduction of all inputs; it may lie in its own place in
  /// the input.
  void reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op);
  /// output = all inputs in rank order; the input may lie in its own place in the output.
  void all_gather(const Tensor& input, const Tensor& output);
  /// Part r of the input goes to rank r; part r of the output comes from rank r (equal parts). Apart in memory.
  void all_to_all(const Tensor& input, const Tensor& output);
  void broadcast(const Tensor& values, int root);
  /// Begins to send `values`, which must stay as they are until finish_sends() lets them go. On a GPU a group's calls
  /// come one after another, so what a rank receives in a group waits for the sends that it has begun there: two ranks
  /// that both send first need a group for each direction.
  void start_send(const Tensor& values, int to);
  /// Returns when at most `under_way` of the sends begun here are not received yet; those begun first finish first.
  void finish_sends(std::size_t under_way = 0);
  /// After an error: nobody may read any more what was to be sent, because its memory is about to go.
  virtual void abandon_sends() noexcept {}
  /// Both in one.
  void send(const Tensor& values, int to);
  void receive(const Tensor& values, int from);
  void barrier();

  /// A call that is begun here and completed by finish(): what it reads and writes belongs to it until then. Calls are
  /// begun in the same order on every rank, among all others of the group.
  using Ticket = std::int64_t;
  Ticket start_all_reduce(const Tensor& values, ReduceOp op);
  Ticket start_reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op);
  Ticket start_all_gather(const Tensor& input, const Tensor& output);
  /// Once for each ticket, in the order in which they were given out. Back ends without overlap run a call as it
  /// begins.
  void finish(Ticket ticket) { do_finish(ticket); }

  /// For whoever waits for a device, now and then: throws when ranks are lost on which its work waits. `waited_s`: how
  /// long it has waited.
  virtual void check_ranks(double /*waited_s*/) {}
  /// Work of this rank on a GPU is on this stream (Kernels::stream()): calls come after what is there, and what comes
  /// there later sees their results. Also for groups that were split from this one.
  virtual void follow(void* /*compute_stream*/) {}

 protected:
  Communicator(int rank, int size, std::string name, std::shared_ptr<CommunicatorWatch> watch);

  const std::string& name() const { return name_; }
  const std::shared_ptr<CommunicatorWatch>& watch() const { return watch_; }
  /// Messages name ranks by their number in the job, also those of a smaller group: "rank 5 (pipeline 1, data 0, tensor
  /// 1)".
  std::string who(int rank) const;
  /// "rank 5 (pipeline 1, data 0, tensor 1), tensor group, step 17"
  std::string place() const;

 private:
  virtual int job_rank(int rank) const = 0;  ///< the number in the job of a rank of this group
  virtual std::unique_ptr<Communicator> do_split(const CollectiveCall& call, int color, int key,
                                                 const std::string& name) = 0;
  virtual void do_all_reduce(const CollectiveCall& call, const Tensor& values, ReduceOp op) = 0;
  virtual void do_reduce_scatter(const CollectiveCall& call, const Tensor& input, const Tensor& output,
                                 ReduceOp op) = 0;
  virtual void do_all_gather(const CollectiveCall& call, const Tensor& input, const Tensor& output) = 0;
  virtual void do_all_to_all(const CollectiveCall& call, const Tensor& input, const Tensor& output) = 0;
  virtual void do_broadcast(const CollectiveCall& call, const Tensor& values, int root) = 0;
  virtual void do_start_send(const CollectiveCall& call, const Tensor& values, int to) = 0;
  virtual void do_finish_sends(std::size_t under_way) = 0;
  virtual void do_receive(const CollectiveCall& call, const Tensor& values, int from) = 0;
  virtual void do_barrier(const CollectiveCall& call) = 0;
  /// Whether calls take tensors of `device`, and from where they take them otherwise.
  virtual bool takes(Device device) const { return device.is_host(); }
  virtual Device home() const { return {}; }
  /// The host waits until what was called has written to home().
  virtual void wait_at_home(const CollectiveCall& /*call*/) {}
  /// Between the two, calls complete with do_finish of the ticket.
  virtual void begin_deferring() {}
  virtual Ticket end_deferring() { return 0; }
  virtual void do_finish(Ticket /*ticket*/) {}

  template <class Call>
  Ticket deferred(const Call& call);
  bool is_staged(const Tensor& values) const { return values.defined() && !takes(values.device()); }
  void bring_back(const CollectiveCall& call, const Tensor& copy, const Tensor& original);
  CollectiveCall begin(CollectiveKind kind, const Tensor& values, int detail, std::int64_t sent_bytes);
  void check_contiguous(const Tensor& values, CollectiveKind kind) const;
  void check_reduction(const Tensor& values, ReduceOp op, CollectiveKind kind) const;
  void check_parts(const Tensor& whole, const Tensor& part, CollectiveKind kind) const;
  void check_places(const Tensor& input, const Tensor& output, CollectiveKind kind) const;
  void check_peer(int peer, CollectiveKind kind) const;

  int rank_;
  int size_;
  std::string name_;
  std::shared_ptr<CommunicatorWatch> watch_;
  std::int64_t sequence_ = 0;
  Traffic traffic_;
  DeviceStaging staging_;
};

/// The group of one rank.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace baekji
