#include "parallel/communicator_nccl.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/cuda_check.h"
#include "kernels/cuda/ordered_keys.h"
#include "parallel/collective_errors.h"
#include "parallel/group_nccl.h"

namespace baekji {
namespace {

constexpr int kOldestVersion = 21900;  // communicators that do not block, and groups of sends, as they are used here

ncclDataType_t integer_type(DType type) {
  return size_of(type) == 8 ? ncclInt64 : ncclInt32;
}

bool is_integer(DType type) {
  return type == DType::kInt32 || type == DType::kInt64;
}

std::size_t bytes_of(const Tensor& tensor) {
  return static_cast<std::size_t>(tensor.size_bytes());
}

// A tensor's place as that of integers of the same width.
Tensor as_keys(const Tensor& values, void* memory) {
  const DType type = values.type() == DType::kFloat64 ? DType::kInt64 : DType::kInt32;
  return {memory, type, {values.size()}, values.device()};
}

class NcclCommunicator final : public Communicator {
 public:
  struct Args {
    std::unique_ptr<Communicator> host;  // null: tensors of the host go through the device
    ncclUniqueId id{};
    int rank = 0;
    std::vector<int> job_ranks;  // of the group's ranks, in order
    std::string name;
    std::shared_ptr<NcclJob> job;
  };
  explicit NcclCommunicator(Args args)
      : Communicator(args.rank, static_cast<int>(args.job_ranks.size()), args.name, args.job->watch),
        host_(std::move(args.host)),
        job_ranks_(std::move(args.job_ranks)),
        job_(args.job),
        keys_(args.job->device),
        group_({.id = args.id, .rank = rank(), .size = size(), .job = args.job, .place = [this] { return place(); }}) {}

  void check_ranks(double waited_s) override {
    for (NcclGroup* const group : job_->groups) group->check(waited_s);
  }
  void follow(void* compute_stream) override { job_->compute = static_cast<cudaStream_t>(compute_stream); }
  void abandon_sends() noexcept override {
    if (sent_.empty()) return;
    group_.give_up();
    if (host_) host_->abandon_sends();
  }

 private:
  int job_rank(int rank) const override { return job_ranks_[static_cast<std::size_t>(rank)]; }
  bool takes(Device device) const override { return device == job_->device || (host_ && device.is_host()); }
  Device home() const override { return job_->device; }
  void wait_at_home(const CollectiveCall& /*call*/) override { group_.wait(); }

  std::unique_ptr<Communicator> do_split(const CollectiveCall& call, int color, int key,
                                         const std::string& name) override;

  void do_all_reduce(const CollectiveCall& call, const Tensor& values, ReduceOp op) override {
    if (values.device().is_host()) return host_->all_reduce(values, op);
    begin(call);
    const auto count = static_cast<std::size_t>(values.size());
    const Tensor keys = is_integer(values.type()) ? values : as_keys(values, values.data());
    if (keys.type() != values.type()) cuda::ordered_keys(values, keys, group_.stream());
    group_.accept(ncclAllReduce(keys.data(), keys.data(), count, integer_type(keys.type()), operation(op),
                                group_.comm(), group_.stream()));
    group_.settle();
    if (keys.type() != values.type()) cuda::values_of_keys(keys, values, group_.stream());
    end();
  }

  void do_reduce_scatter(const CollectiveCall& call, const Tensor& input, const Tensor& output, ReduceOp op) override {
    if (input.device().is_host()) return host_->reduce_scatter(input, output, op);
    const bool integers = is_integer(input.type());
    // The input stays as it is, so its keys need memory of their own.
    const Tensor keys = integers ? input : as_keys(input, keys_.at_least(input.size_bytes(), place()));
    const Tensor result = integers ? output : as_keys(output, output.data());
    begin(call);
    if (!integers) cuda::ordered_keys(input, keys, group_.stream());
    group_.accept(ncclReduceScatter(keys.data(), result.data(), static_cast<std::size_t>(output.size()),
                                    integer_type(keys.type()), operation(op), group_.comm(), group_.stream()));
    group_.settle();
    if (!integers) cuda::values_of_keys(result, output, group_.stream());
    end();
  }

  void do_all_gather(const CollectiveCall& call, const Tensor& input, const Tensor& output) override {
    if (input.device().is_host()) return host_->all_gather(input, output);
    begin(call);
    group_.accept(
        ncclAllGather(input.data(), output.data(), bytes_of(input), ncclUint8, group_.comm(), group_.stream()));
    group_.settle();
    end();
  }

  void do_all_to_all(const CollectiveCall& call, const Tensor& input, const Tensor& output) override {
    if (input.device().is_host()) return host_->all_to_all(input, output);
    begin(call);
    const std::size_t bytes = bytes_of(input) / static_cast<std::size_t>(size());
    group_.accept(ncclGroupStart());
    for (int r = 0; r < size(); ++r) {
      const std::size_t offset = static_cast<std::size_t>(r) * bytes;
      group_.accept(ncclSend(static_cast<const std::byte*>(input.data()) + offset, bytes, ncclUint8, r, group_.comm(),
                             group_.stream()));
      group_.accept(ncclRecv(static_cast<std::byte*>(output.data()) + offset, bytes, ncclUint8, r, group_.comm(),
                             group_.stream()));
    }
    group_.accept(ncclGroupEnd());
    group_.settle();
    end();
  }

  void do_broadcast(const CollectiveCall& call, const Tensor& values, int root) override {
    if (values.device().is_host()) return host_->broadcast(values, root);
    begin(call);
    group_.accept(
        ncclBroadcast(values.data(), values.data(), bytes_of(values), ncclUint8, root, group_.comm(), group_.stream()));
    group_.settle();
    end();
  }

  void do_start_send(const CollectiveCall& call, const Tensor& values, int to) override {
    if (values.device().is_host() && host_) {
      host_->start_send(values, to);
      ++sent_by_host_;
      sent_.push_back({.by_host = true});
      return;
    }
    announce(call, to);
    group_.begin(call);
    group_.accept(ncclSend(values.data(), bytes_of(values), ncclUint8, to, group_.comm(), group_.stream()));
    group_.settle();
    sent_.push_back({.done = group_.mark(), .by_host = compares()});
  }

  void do_finish_sends(std::size_t under_way) override {
    while (sent_.size() > under_way) {
      Sent sent = std::move(sent_.front());
      sent_.pop_front();
      if (sent.done) group_.join(std::move(*sent.done));
      if (sent.by_host) host_->finish_sends(--sent_by_host_);
    }
    while (announced_.size() > sent_by_host_) announced_.pop_front();
  }

  void do_receive(const CollectiveCall& call, const Tensor& values, int from) override {
    if (values.device().is_host() && host_) return host_->receive(values, from);
    compare_with_sender(call, from);
    group_.begin(call);
    group_.accept(ncclRecv(values.data(), bytes_of(values), ncclUint8, from, group_.comm(), group_.stream()));
    group_.settle();
    end();
  }

  void do_barrier(const CollectiveCall& /*call*/) override {
    if (host_) return host_->barrier();
    std::int32_t nothing = 0;
    all_reduce(Tensor(&nothing, DType::kInt32, {1}), ReduceOp::kSumInteger);
  }

  void begin_deferring() override { deferring_ = true; }
  Ticket end_deferring() override {
    deferring_ = false;
    ++tickets_;
    if (not_joined_) deferred_.emplace(tickets_, std::move(*not_joined_));
    not_joined_.reset();
    return tickets_;
  }
  void do_finish(Ticket ticket) override {
    const auto found = deferred_.find(ticket);
    if (found == deferred_.end()) return;  // of a call on the host's tensors
    group_.join(std::move(found->second));
    deferred_.erase(found);
  }

  // A send whose memory is free again when the event has passed, and when the host's communicator has sent its part.
  struct Sent {
    std::optional<CudaEvent> done;
    bool by_host = false;
  };
  // Memory of the device that grows only.
  class Memory {
   public:
    explicit Memory(Device device) : device_(device) {}
    ~Memory() {
      if (data_ != nullptr) free_memory(device_, data_, size_bytes_);
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    void* at_least(std::int64_t size_bytes, const std::string& place) {
      if (size_bytes <= size_bytes_) return data_;
      if (data_ != nullptr) free_memory(device_, data_, size_bytes_);  // waits for the device
      size_bytes_ = 0;
      data_ = allocate_memory(device_, size_bytes);
      if (data_ == nullptr)
        throw Error("out of memory").values(fmt::format("{} bytes", size_bytes), "refused").at(place);
      size_bytes_ = size_bytes;
      return data_;
    }

   private:
    Device device_;
    void* data_ = nullptr;
    std::int64_t size_bytes_ = 0;
  };
  using Header = std::array<std::int64_t, 5>;

  void begin(const CollectiveCall& call) {
    compare(call);
    group_.begin(call);
  }
  // The compute stream waits for the call here, or where its ticket is given back.
  void end() {
    if (!deferring_) return group_.join();
    not_joined_ = group_.mark();
  }

  static ncclRedOp_t operation(ReduceOp op) { return op == ReduceOp::kMax ? ncclMax : ncclSum; }

  // NCCL does not see that ranks call different things: they hang, or exchange nonsense. The host's communicator can
  // compare the calls, at the price of waiting for it.
  bool compares() const { return watch()->compare_calls && host_ != nullptr && size() > 1; }
  static Header header_of(const CollectiveCall& call) {
    return {static_cast<std::int64_t>(call.kind), call.sequence, static_cast<std::int64_t>(call.type), call.count,
            call.detail};
  }
  static CollectiveCall call_of(const Header& header) {
    return {.kind = static_cast<CollectiveKind>(header[0]),
            .sequence = header[1],
            .type = static_cast<DType>(header[2]),
            .count = header[3],
            .detail = static_cast<std::int32_t>(header[4])};
  }
  static Tensor tensor_of(std::span<std::int64_t> values) {
    return {values.data(), DType::kInt64, {std::ssize(values)}};
  }
  void compare(const CollectiveCall& call) {
    if (!compares()) return;
    Header mine = header_of(call);
    std::vector<std::int64_t> all(mine.size() * static_cast<std::size_t>(size()));
    host_->all_gather(tensor_of(mine), tensor_of(all));
    for (int other = 0; other < size(); ++other) {
      Header theirs{};
      std::copy_n(all.begin() + other * std::ssize(mine), mine.size(), theirs.begin());
      if (theirs == mine) continue;
      group_.give_up();
      throw different_calls(who(rank()), call, who(other), call_of(theirs), place());
    }
  }
  void announce(const CollectiveCall& call, int to) {
    if (!compares()) return;
    announced_.push_back(header_of(call));  // a deque keeps it in its place
    host_->start_send(tensor_of(announced_.back()), to);
    ++sent_by_host_;
  }
  void compare_with_sender(const CollectiveCall& call, int from) {
    if (!compares()) return;
    Header header{};
    host_->receive(tensor_of(header), from);
    const CollectiveCall sent = call_of(header);
    if (sent.type == call.type && sent.count == call.count) return;
    group_.give_up();
    throw different_message(who(rank()), call, who(from), sent, place());
  }

  std::unique_ptr<Communicator> host_;
  std::vector<int> job_ranks_;
  std::shared_ptr<NcclJob> job_;
  Memory keys_;  // of the input of a reduction; goes after the group, whose stream may use it
  NcclGroup group_;
  std::deque<Sent> sent_;  // the oldest first
  std::size_t sent_by_host_ = 0;
  std::deque<Header> announced_;  // what the host's communicator sends, at most; a deque keeps it in its place
  bool deferring_ = false;
  std::optional<CudaEvent> not_joined_;
  Ticket tickets_ = 0;
  std::map<Ticket, CudaEvent> deferred_;
};

// A unique id as numbers, which every communicator carries.
using IdWords = std::array<std::int64_t, sizeof(ncclUniqueId) / sizeof(std::int64_t)>;

IdWords new_id(const std::string& place) {
  ncclUniqueId id{};
  const ncclResult_t code = ncclGetUniqueId(&id);
  if (code != ncclSuccess)
    throw Error("NCCL failed in ncclGetUniqueId").values("ncclSuccess", ncclGetErrorString(code)).at(place);
  IdWords words{};
  std::memcpy(words.data(), &id, sizeof id);
  return words;
}

ncclUniqueId id_of(const IdWords& words) {
  ncclUniqueId id{};
  std::memcpy(&id, words.data(), sizeof id);
  return id;
}

// Every rank's `mine`, in rank order.
template <std::size_t kCount>
std::vector<std::array<std::int64_t, kCount>> gather(Communicator& world, std::array<std::int64_t, kCount> mine) {
  std::vector<std::array<std::int64_t, kCount>> all(static_cast<std::size_t>(world.size()));
  constexpr auto kWords = static_cast<std::int64_t>(kCount);
  world.all_gather({mine.data(), DType::kInt64, {kWords}}, {all.data(), DType::kInt64, {world.size() * kWords}});
  return all;
}

// The group's first rank makes its id. All ids go to all ranks: the way that is there with and without a host's
// communicator.
std::unique_ptr<Communicator> NcclCommunicator::do_split(const CollectiveCall& /*call*/, int color, int key,
                                                         const std::string& name) {
  const auto wishes = gather<2>(*this, {color, key});
  const auto wish = [&](int r) { return wishes[static_cast<std::size_t>(r)]; };
  std::vector<int> members;
  for (int r = 0; r < size(); ++r) {
    if (wish(r)[0] == color) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) { return wish(a)[1] < wish(b)[1]; });
  const bool first = members.front() == rank();
  const auto ids = gather(*this, first ? new_id(place()) : IdWords{});
  Args args{.host = host_ ? host_->split(color, key, name) : nullptr,
            .id = id_of(ids[static_cast<std::size_t>(members.front())]),
            .rank = static_cast<int>(std::find(members.begin(), members.end(), rank()) - members.begin()),
            .name = name,
            .job = job_};
  for (const int member : members) args.job_ranks.push_back(job_rank(member));
  return std::make_unique<NcclCommunicator>(std::move(args));
}

void check_version() {
  int version = 0;
  ncclGetVersion(&version);
  if (version >= kOldestVersion) return;
  const auto text = [](int v) { return fmt::format("{}.{}", v / 10000, v % 10000 / 100); };
  throw Error("NCCL is too old")
      .values(text(kOldestVersion) + " or later", text(version))
      .at("layout.communicator = \"nccl\"")
      .hint("install a newer libnccl, or use layout.communicator = \"mpi\"");
}

}  // namespace

std::string ranks_that_share_a_gpu(Communicator& world, Device device, const CommunicatorWatch& watch) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.ordinal), "cudaGetDeviceProperties");
  std::array<std::int64_t, 2> mine{};
  static_assert(sizeof mine == sizeof properties.uuid.bytes);
  std::memcpy(mine.data(), &properties.uuid.bytes, sizeof mine);
  const auto all = gather(world, mine);
  std::map<std::array<std::int64_t, 2>, int> users;
  for (int r = 0; r < world.size(); ++r) {
    const auto [user, is_new] = users.emplace(all[static_cast<std::size_t>(r)], r);
    if (!is_new) return fmt::format("{} and {}", watch.who(user->second), watch.who(r));
  }
  return {};
}

std::unique_ptr<Communicator> make_nccl_communicator(NcclOptions options) {
  check_version();
  if (!options.watch) options.watch = std::make_shared<CommunicatorWatch>();
  const std::string place = "start of the job";
  IdWords id{};
  if (options.host) {
    options.here = {.rank = options.host->rank(), .size = options.host->size()};
    const std::string shared = ranks_that_share_a_gpu(*options.host, options.device, *options.watch);
    if (!shared.empty()) {
      throw Error("NCCL needs a GPU for each rank")
          .values("ranks with a GPU of their own", shared + " on one GPU")
          .at(options.device.describe())
          .hint("use layout.communicator = \"mpi\", which lets ranks share a GPU, or start fewer ranks");
    }
    if (options.here.rank == 0) id = new_id(place);
    options.host->broadcast({id.data(), DType::kInt64, {std::ssize(id)}}, 0);
  } else {
    std::string blob(sizeof id, '\0');
    if (options.here.rank == 0) id = new_id(place);
    std::memcpy(blob.data(), id.data(), sizeof id);
    blob = options.share(blob);
    require_equal(sizeof id, blob.size(), "rank 0 gave something else than NCCL's unique id", place);
    std::memcpy(id.data(), blob.data(), sizeof id);
  }
  auto job = std::make_shared<NcclJob>(NcclJob{
      .device = options.device, .compute = static_cast<cudaStream_t>(options.compute_stream), .watch = options.watch});
  std::vector<int> all(static_cast<std::size_t>(options.here.size));
  std::iota(all.begin(), all.end(), 0);
  return std::make_unique<NcclCommunicator>(NcclCommunicator::Args{.host = std::move(options.host),
                                                                   .id = id_of(id),
                                                                   .rank = options.here.rank,
                                                                   .job_ranks = std::move(all),
                                                                   .name = "world",
                                                                   .job = std::move(job)});
}

}  // namespace baekji
