// The stand-in for NCCL: include/nccl.h says what it is.

#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace nccl_on_cpu {
namespace {

enum class Kind { kAllReduce, kReduceScatter, kAllGather, kBroadcast };

struct Call {
  Kind kind = Kind::kAllReduce;
  const void* send = nullptr;
  void* receive = nullptr;
  std::size_t count = 0;
  ncclDataType_t type = ncclUint8;
  ncclRedOp_t op = ncclSum;
  int root = 0;
  bool same_as(const Call& other) const {
    return kind == other.kind && count == other.count && type == other.type && op == other.op && root == other.root;
  }
};

// What the ranks of one collective have come with.
struct Round {
  std::map<int, Call> calls;
  std::size_t read = 0;
  std::size_t left = 0;
};

struct Mail {
  const void* data = nullptr;
  std::size_t size_bytes = 0;
  bool taken = false;
};

// The ranks of one communicator.
struct Meeting {
  std::mutex mutex;
  std::condition_variable changed;
  int ranks = 0;
  std::map<int, int> gpus;  // by rank
  ncclResult_t failure = ncclSuccess;
  std::map<std::int64_t, Round> rounds;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Mail>>> mail;  // by sender and receiver

  bool complete() const { return static_cast<int>(gpus.size()) == ranks; }
};

struct Transfer {
  bool is_send = false;
  const void* send = nullptr;
  void* receive = nullptr;
  std::size_t size_bytes = 0;
  int peer = 0;
};

std::size_t width_of(ncclDataType_t type) {
  return type == ncclInt64 ? 8 : type == ncclInt32 ? 4 : 1;
}
std::string name_of(ncclDataType_t type) {
  return type == ncclInt64 ? "int64" : type == ncclInt32 ? "int32" : "uint8";
}

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Meeting>> meetings;
  std::int64_t ids = 0;
  std::atomic<int> version{22809};
  std::atomic<int> aborted{0};
  std::atomic<int> destroyed{0};
};
Registry& registry() {
  static Registry all;
  return all;
}

template <class T>
void combine(ncclRedOp_t op, std::byte* into, const std::byte* from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    T a{};
    T b{};
    std::memcpy(&a, into + i * sizeof(T), sizeof(T));
    std::memcpy(&b, from + i * sizeof(T), sizeof(T));
    using Unsigned = std::make_unsigned_t<T>;
    a = op == ncclMax ? std::max(a, b) : static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
    std::memcpy(into + i * sizeof(T), &a, sizeof(T));
  }
}

std::vector<std::byte> bytes_at(const void* data, std::size_t offset, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(data) + offset;
  return {first, first + size};
}

// What `rank` gets from the ranks' calls.
std::vector<std::byte> result_of(const Round& round, int rank) {
  const Call& mine = round.calls.at(rank);
  const std::size_t size = mine.count * width_of(mine.type);
  if (mine.kind == Kind::kBroadcast) return bytes_at(round.calls.at(mine.root).send, 0, size);
  std::vector<std::byte> result;
  for (const auto& [other, call] : round.calls) {
    const std::size_t offset = mine.kind == Kind::kReduceScatter ? static_cast<std::size_t>(rank) * size : 0;
    const std::vector<std::byte> part = bytes_at(call.send, offset, size);
    if (mine.kind == Kind::kAllGather || other == 0)
      result.insert(result.end(), part.begin(), part.end());
    else if (mine.type == ncclInt64)
      combine<std::int64_t>(mine.op, result.data(), part.data(), mine.count);
    else if (mine.type == ncclInt32)
      combine<std::int32_t>(mine.op, result.data(), part.data(), mine.count);
    else
      std::abort();  // no reduction of ours
  }
  return result;
}

}  // namespace
}  // namespace nccl_on_cpu

using nccl_on_cpu::Call;
using nccl_on_cpu::Kind;
using nccl_on_cpu::Mail;
using nccl_on_cpu::Meeting;
using nccl_on_cpu::registry;
using nccl_on_cpu::Transfer;

struct NcclOnCpuComm {
  std::shared_ptr<Meeting> meeting;
  int rank = 0;
  bool non_blocking = false;
  int busy = 0;  // polls until the last call is through
  std::int64_t sequence = 0;
  bool finalised = false;
  std::shared_ptr<std::atomic<int>> under_way = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);

  // A communicator that does not block may be used again when it has said that it is done.
  ncclResult_t take_call() {
    if (busy > 0) return ncclInvalidArgument;
    busy = non_blocking ? 2 : 0;
    return non_blocking ? ncclInProgress : ncclSuccess;
  }
};

namespace {

thread_local bool in_group = false;
struct Group {
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<Transfer> transfers;
  std::string what;
};
thread_local Group group;

void run_collective(Meeting& meeting, int rank, std::int64_t sequence, const Call& call,
                    const std::atomic<bool>& aborted) {
  std::unique_lock lock(meeting.mutex);
  nccl_on_cpu::Round& round = meeting.rounds[sequence];
  round.calls[rank] = call;
  meeting.changed.notify_all();
  const auto all = static_cast<std::size_t>(meeting.ranks);
  meeting.changed.wait(lock, [&] { return aborted || round.calls.size() == all; });
  if (aborted) return;
  for (const auto& [other, theirs] : round.calls) {
    if (!theirs.same_as(call)) meeting.failure = ncclInvalidArgument;
  }
  if (meeting.failure != ncclSuccess) {  // as on a GPU: nothing comes until somebody aborts
    meeting.changed.wait(lock, [&] { return aborted.load(); });
    return;
  }
  const cuda_on_cpu::DeviceAccess access;
  const std::vector<std::byte> result = nccl_on_cpu::result_of(round, rank);
  ++round.read;
  meeting.changed.notify_all();
  meeting.changed.wait(lock, [&] { return aborted || round.read == all; });
  if (aborted) return;
  std::copy(result.begin(), result.end(), static_cast<std::byte*>(call.receive));
  if (++round.left == all) meeting.rounds.erase(sequence);
}

void run_transfers(Meeting& meeting, int rank, const std::vector<Transfer>& transfers,
                   const std::atomic<bool>& aborted) {
  std::unique_lock lock(meeting.mutex);
  std::vector<std::shared_ptr<Mail>> sent;
  for (const Transfer& t : transfers) {
    if (!t.is_send) continue;
    sent.push_back(std::make_shared<Mail>(Mail{.data = t.send, .size_bytes = t.size_bytes}));
    meeting.mail[{rank, t.peer}].push_back(sent.back());
  }
  meeting.changed.notify_all();
  for (const Transfer& t : transfers) {
    if (t.is_send) continue;
    auto& waiting = meeting.mail[{t.peer, rank}];
    meeting.changed.wait(lock, [&] { return aborted || !waiting.empty(); });
    if (aborted) return;
    if (waiting.front()->size_bytes != t.size_bytes) {
      meeting.failure = ncclInvalidArgument;
      meeting.changed.wait(lock, [&] { return aborted.load(); });
      return;
    }
    const cuda_on_cpu::DeviceAccess access;
    std::memmove(t.receive, waiting.front()->data, t.size_bytes);
    waiting.front()->taken = true;
    waiting.pop_front();
    meeting.changed.notify_all();
  }
  const auto taken = [](const std::shared_ptr<Mail>& mail) { return mail->taken; };
  meeting.changed.wait(lock, [&] { return aborted || std::all_of(sent.begin(), sent.end(), taken); });
}

ncclResult_t collective(ncclComm_t comm, cudaStream_t stream, const std::string& what, const Call& call) {
  if (in_group) std::abort();  // ours never are
  const ncclResult_t result = comm->take_call();
  if (result == ncclInvalidArgument) return result;
  const std::string text = what + " " + nccl_on_cpu::name_of(call.type) + " " + std::to_string(call.count);
  ++*comm->under_way;
  cuda_on_cpu::enqueue(stream, text,
                       [meeting = comm->meeting, rank = comm->rank, sequence = comm->sequence++, call,
                        aborted = comm->aborted, under_way = comm->under_way] {
                         run_collective(*meeting, rank, sequence, call, *aborted);
                         --*under_way;
                       });
  return result;
}

ncclResult_t transfer(ncclComm_t comm, cudaStream_t stream, const std::string& what, const Transfer& one) {
  const bool alone = !in_group;
  if (alone) ncclGroupStart();
  if (group.comm != nullptr && group.comm != comm) std::abort();  // ours never do
  group.comm = comm;
  group.stream = stream;
  group.transfers.push_back(one);
  group.what += (group.what.empty() ? "" : ", ") + what + " " + std::to_string(one.size_bytes) +
                (one.is_send ? " to " : " from ") + std::to_string(one.peer);
  return alone ? ncclGroupEnd() : ncclSuccess;
}

std::string op_name(const char* name, ncclRedOp_t op) {
  return std::string(name) + (op == ncclMax ? " max" : " sum");
}

}  // namespace

ncclResult_t ncclGetVersion(int* version) {
  *version = registry().version;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t code) {
  switch (code) {
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclInvalidArgument:
      return "invalid argument";
    default:
      return "no error";
  }
}
const char* ncclGetLastError(ncclComm_t /*comm*/) {
  return "the stand-in for NCCL says no more";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(registry().mutex);
  const std::string text = "meeting " + std::to_string(++registry().ids);
  *id = {};
  text.copy(id->internal, text.size());
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  std::shared_ptr<Meeting> meeting;
  {
    const std::lock_guard lock(registry().mutex);
    auto& found = registry().meetings[id.internal];
    if (!found) found = std::make_shared<Meeting>();
    meeting = found;
  }
  const std::lock_guard lock(meeting->mutex);
  meeting->ranks = ranks;
  if (rank < 0 || rank >= ranks || meeting->gpus.contains(rank)) return ncclInvalidArgument;
  meeting->gpus[rank] = cuda_on_cpu::gpu_of_thread;
  std::set<int> different;
  for (const auto& [other, gpu] : meeting->gpus) different.insert(gpu);
  if (meeting->complete() && static_cast<int>(different.size()) < ranks) meeting->failure = ncclInvalidUsage;
  meeting->changed.notify_all();
  auto made = std::make_unique<NcclOnCpuComm>();
  made->meeting = meeting;
  made->rank = rank;
  made->non_blocking = config->blocking == 0;
  if (!made->non_blocking) std::abort();  // ours are
  *comm = made.release();
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  const std::lock_guard lock(comm->meeting->mutex);
  if (comm->busy > 0) --comm->busy;
  const bool flushing = comm->finalised && *comm->under_way > 0;
  *state = comm->busy > 0 || flushing || !comm->meeting->complete() ? ncclInProgress : ncclSuccess;
  if (comm->meeting->failure != ncclSuccess) *state = comm->meeting->failure;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  comm->finalised = true;
  return comm->take_call();
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const std::unique_ptr<NcclOnCpuComm> gone(comm);
  ++registry().destroyed;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const std::unique_ptr<NcclOnCpuComm> gone(comm);
  const std::lock_guard lock(gone->meeting->mutex);
  *gone->aborted = true;
  gone->meeting->changed.notify_all();
  ++registry().aborted;
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() {
  in_group = true;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  in_group = false;
  Group done = std::exchange(group, {});
  if (done.comm == nullptr) return ncclSuccess;
  const ncclResult_t result = done.comm->take_call();
  if (result == ncclInvalidArgument) return result;
  ++*done.comm->under_way;
  cuda_on_cpu::enqueue(done.stream, done.what,
                       [meeting = done.comm->meeting, rank = done.comm->rank, transfers = done.transfers,
                        aborted = done.comm->aborted, under_way = done.comm->under_way] {
                         run_transfers(*meeting, rank, transfers, *aborted);
                         --*under_way;
                       });
  return result;
}
ncclResult_t ncclAllReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective(
      comm, stream, op_name("ncclAllReduce", op),
      {.kind = Kind::kAllReduce, .send = send, .receive = receive, .count = count, .type = type, .op = op});
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, std::size_t receive_count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return collective(
      comm, stream, op_name("ncclReduceScatter", op),
      {.kind = Kind::kReduceScatter, .send = send, .receive = receive, .count = receive_count, .type = type, .op = op});
}
ncclResult_t ncclAllGather(const void* send, void* receive, std::size_t send_count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective(comm, stream, "ncclAllGather",
                    {.kind = Kind::kAllGather, .send = send, .receive = receive, .count = send_count, .type = type});
}
ncclResult_t ncclBroadcast(const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective(
      comm, stream, "ncclBroadcast",
      {.kind = Kind::kBroadcast, .send = send, .receive = receive, .count = count, .type = type, .root = root});
}
ncclResult_t ncclSend(const void* send, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return transfer(comm, stream, "ncclSend",
                  {.is_send = true, .send = send, .size_bytes = count * nccl_on_cpu::width_of(type), .peer = peer});
}
ncclResult_t ncclRecv(void* receive, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return transfer(comm, stream, "ncclRecv",
                  {.receive = receive, .size_bytes = count * nccl_on_cpu::width_of(type), .peer = peer});
}

namespace nccl_on_cpu {

void set_version(int version) {
  registry().version = version;
}
void fail_all(ncclResult_t code) {
  const std::lock_guard lock(registry().mutex);
  for (const auto& [id, meeting] : registry().meetings) {
    const std::lock_guard inner(meeting->mutex);
    meeting->failure = code;
  }
}
int aborted() {
  return registry().aborted;
}
int destroyed() {
  return registry().destroyed;
}

}  // namespace nccl_on_cpu
