#include "parallel/communicator_mpi.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <thread>
#include <vector>

#include "parallel/collective_errors.h"
#include "parallel/reduction.h"

namespace baekji {
namespace {

using Clock = std::chrono::steady_clock;

void check(int code, const char* what, const std::string& place) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(fmt::format("MPI failed in {}", what)).values("MPI_SUCCESS", text).at(place);
}

MPI_Datatype type_of(DType type) {
  switch (type) {
    case DType::kInt32:
      return MPI_INT32_T;
    case DType::kInt64:
      return MPI_INT64_T;
    case DType::kFloat64:
      return MPI_DOUBLE;
    default:
      return MPI_FLOAT;
  }
}

// MPI calls this for its maxima, so that NaN and signed zeros do not depend on the order of ranks.
void larger(void* from, void* into, int* count, MPI_Datatype* type) {
  for (const DType ours : {DType::kInt32, DType::kInt64, DType::kFloat32, DType::kFloat64}) {
    if (*type == type_of(ours)) combine(ours, ReduceOp::kMax, into, from, *count);
  }
}

// Who is where, asked when a call takes too long. A rank counts the calls that it has begun on each communicator, and
// tells its count to whoever asks, as long as it waits itself. One that is stopped, has ended or computes gives no
// answer. Not a window that the others read: over plain TCP a rank must help to have its memory read, and whoever reads
// from a stopped one waits for ever.
class RollCall {
 public:
  explicit RollCall(const std::string& place) {
    check(MPI_Comm_dup(MPI_COMM_WORLD, &world_), "MPI_Comm_dup", place);
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN);
  }
  ~RollCall() {
    if (!broken()) MPI_Comm_free(&world_);
  }
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  /// The slot of a new communicator: one that none of its ranks has taken. Collective on it.
  int take_slot(MPI_Comm group, const std::string& place) {
    int slot = 0;
    check(MPI_Allreduce(&next_, &slot, 1, MPI_INT, MPI_MAX, group), "MPI_Allreduce", place);
    next_ = slot + 1;
    begun_.resize(static_cast<std::size_t>(next_));
    return slot;
  }
  void arrive(int slot) { begun_[static_cast<std::size_t>(slot)] += 1; }
  /// Tells the ranks that have asked. Called while this rank waits.
  void answer() {
    for (Note note{}; take(kQuestion, note);) send(narrow<int>(note[0]), kAnswer, note[1]);
  }

  struct Missing {
    std::vector<int> absent;  ///< have begun fewer calls than this rank
    std::vector<int> silent;  ///< give no answer
  };
  /// Which of `job_ranks` a call on the communicator of `slot` waits for.
  Missing ask(const std::vector<int>& job_ranks, int slot) {
    constexpr auto kPatience = std::chrono::seconds(1);
    for (const int rank : job_ranks) send(rank, kQuestion, slot);
    std::map<std::int64_t, std::int64_t> counts;
    const auto start = Clock::now();
    while (counts.size() < job_ranks.size() && Clock::now() - start < kPatience) {
      answer();  // another rank may ask the same
      for (Note note{}; take(kAnswer, note);) counts[note[0]] = note[2];
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    Missing missing;
    for (const int rank : job_ranks) {
      const auto count = counts.find(rank);
      if (count == counts.end()) missing.silent.push_back(rank);
      if (count != counts.end() && count->second < begun(slot)) missing.absent.push_back(rank);
    }
    return missing;
  }
  void give_up() { broken_ = true; }
  /// After an error the others may never come to a collective free; the job is about to be ended anyway.
  bool broken() const { return broken_ || std::uncaught_exceptions() > 0; }

 private:
  enum Tag : int { kQuestion = 1, kAnswer = 2 };
  using Note = std::array<std::int64_t, 3>;  // sender, slot, the sender's count of it

  // A rank may know fewer communicators than another.
  std::int64_t begun(std::int64_t slot) const {
    return slot < std::ssize(begun_) ? begun_[static_cast<std::size_t>(slot)] : 0;
  }
  // Nobody waits for a note to arrive: it may be to a rank that is gone.
  void send(int to, Tag tag, std::int64_t slot) {
    int mine = 0;
    MPI_Comm_rank(world_, &mine);
    const Note& note = sent_.emplace_back(Note{mine, slot, begun(slot)});
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Isend(note.data(), static_cast<int>(note.size()), MPI_INT64_T, to, tag, world_, &request);
    MPI_Request_free(&request);
  }
  bool take(Tag tag, Note& note) {
    int came = 0;
    MPI_Status status{};
    MPI_Iprobe(MPI_ANY_SOURCE, tag, world_, &came, &status);
    if (came == 0) return false;
    return MPI_Recv(note.data(), static_cast<int>(note.size()), MPI_INT64_T, status.MPI_SOURCE, tag, world_,
                    MPI_STATUS_IGNORE) == MPI_SUCCESS;
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  std::vector<std::int64_t> begun_;  // by slot
  std::deque<Note> sent_;            // a deque keeps them in their place
  int next_ = 0;
  bool broken_ = false;
};

// The handles of one group, freed with it.
class Handles {
 public:
  /// Takes over `group`.
  Handles(MPI_Comm group, std::shared_ptr<RollCall> roll, const std::string& place)
      : messages(group), calls(std::move(roll)) {
    MPI_Comm_set_errhandler(messages, MPI_ERRORS_RETURN);
    check(MPI_Op_create(&larger, 1, &largest), "MPI_Op_create", place);
    slot = calls->take_slot(messages, place);
  }
  ~Handles() {
    if (calls->broken()) return;
    MPI_Op_free(&largest);
    MPI_Comm_free(&messages);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  int job_rank(int rank) const {
    MPI_Group members = MPI_GROUP_NULL;
    MPI_Group all = MPI_GROUP_NULL;
    MPI_Comm_group(messages, &members);
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    int result = 0;
    MPI_Group_translate_ranks(members, 1, &rank, all, &result);
    MPI_Group_free(&members);
    MPI_Group_free(&all);
    return result;
  }

  MPI_Comm messages = MPI_COMM_NULL;
  MPI_Op largest = MPI_OP_NULL;
  std::shared_ptr<RollCall> calls;
  int slot = 0;
};

int rank_of(MPI_Comm communicator) {
  int rank = 0;
  MPI_Comm_rank(communicator, &rank);
  return rank;
}
int size_of_group(MPI_Comm communicator) {
  int size = 1;
  MPI_Comm_size(communicator, &size);
  return size;
}

// `bytes` bytes as one element that recurs every `stride_bytes`: part r of a tensor begins at r strides, however far.
class PieceType {
 public:
  PieceType(std::int64_t bytes, std::int64_t stride_bytes) {
    MPI_Datatype dense = MPI_DATATYPE_NULL;
    MPI_Type_contiguous(narrow<int>(bytes), MPI_BYTE, &dense);
    MPI_Type_create_resized(dense, 0, static_cast<MPI_Aint>(stride_bytes), &type_);
    MPI_Type_commit(&type_);
    MPI_Type_free(&dense);
  }
  ~PieceType() { MPI_Type_free(&type_); }
  PieceType(const PieceType&) = delete;
  PieceType& operator=(const PieceType&) = delete;
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::unique_ptr<Handles> handles, std::string name, const MpiOptions& options)
      : Communicator(rank_of(handles->messages), size_of_group(handles->messages), std::move(name), options.watch),
        options_(options),
        mpi_(std::move(handles)) {}

 private:
  int job_rank(int rank) const override { return mpi_->job_rank(rank); }
  std::unique_ptr<Communicator> do_split(const CollectiveCall& call, int color, int key,
                                         const std::string& name) override {
    begin(call);
    MPI_Comm group = MPI_COMM_NULL;
    check(MPI_Comm_split(mpi_->messages, color, key, &group), "MPI_Comm_split", place());
    return std::make_unique<MpiCommunicator>(std::make_unique<Handles>(group, mpi_->calls, place()), name, options_);
  }

  void do_all_reduce(const CollectiveCall& call, const Tensor& values, ReduceOp op) override {
    begin(call);
    const std::int64_t width = size_of(values.type());
    for_pieces(values.size(), width, [&](std::int64_t first, std::int64_t count) {
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Iallreduce(MPI_IN_PLACE, byte_at(values.data(), first * width), narrow<int>(count),
                           type_of(values.type()), operation(op), mpi_->messages, &request),
            "MPI_Iallreduce", place());
      wait(request, call);
    });
  }

  // Every rank gets the others' shares of its part, piece by piece, and folds them itself: MPI's own reductions to one
  // rank go in many small segments, each of which waits for the one before.
  void do_reduce_scatter(const CollectiveCall& call, const Tensor& input, const Tensor& output, ReduceOp op) override {
    begin(call);
    const std::int64_t width = size_of(input.type());
    const std::int64_t piece_bytes = std::max(options_.piece_bytes / size() / width * width, width);
    shares_.resize(static_cast<std::size_t>(std::min(piece_bytes, output.size_bytes()) * size()));
    for (std::int64_t first = 0; first < output.size_bytes(); first += piece_bytes) {
      const std::int64_t bytes = std::min(piece_bytes, output.size_bytes() - first);
      const PieceType piece(bytes, output.size_bytes());
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Ialltoall(byte_at(input.data(), first), 1, piece.get(), shares_.data(), narrow<int>(bytes), MPI_BYTE,
                          mpi_->messages, &request),
            "MPI_Ialltoall", place());
      wait(request, call);
      std::byte* const sum = byte_at(output.data(), first);
      std::copy_n(shares_.data() + rank() * bytes, bytes, sum);
      for (int r = 0; r < size(); ++r) {
        if (r != rank()) combine(input.type(), op, sum, shares_.data() + r * bytes, bytes / width);
      }
    }
  }

  void do_all_gather(const CollectiveCall& call, const Tensor& input, const Tensor& output) override {
    begin(call);
    const bool in_place = input.data() == byte_at(output.data(), rank() * input.size_bytes());
    for_pieces(input.size_bytes(), 1, [&](std::int64_t first, std::int64_t count) {
      const PieceType piece(count, input.size_bytes());
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Iallgather(in_place ? MPI_IN_PLACE : byte_at(input.data(), first), 1, piece.get(),
                           byte_at(output.data(), first), 1, piece.get(), mpi_->messages, &request),
            "MPI_Iallgather", place());
      wait(request, call);
    });
  }

  void do_all_to_all(const CollectiveCall& call, const Tensor& input, const Tensor& output) override {
    begin(call);
    const std::int64_t part_bytes = input.size_bytes() / size();
    for_pieces(part_bytes, 1, [&](std::int64_t first, std::int64_t count) {
      const PieceType piece(count, part_bytes);
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Ialltoall(byte_at(input.data(), first), 1, piece.get(), byte_at(output.data(), first), 1, piece.get(),
                          mpi_->messages, &request),
            "MPI_Ialltoall", place());
      wait(request, call);
    });
  }

  void do_broadcast(const CollectiveCall& call, const Tensor& values, int root) override {
    begin(call);
    for_pieces(values.size_bytes(), 1, [&](std::int64_t first, std::int64_t count) {
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Ibcast(byte_at(values.data(), first), narrow<int>(count), MPI_BYTE, root, mpi_->messages, &request),
            "MPI_Ibcast", place());
      wait(request, call);
    });
  }

  // The call goes ahead of its values, so that a receiver that expects others says so instead of filling its memory.
  void do_start_send(const CollectiveCall& call, const Tensor& values, int to) override {
    Sending& sending = sending_.emplace_back(Sending{.call = call, .header = header_of(call), .requests = {}});
    const auto start = [&](const void* data, int count, MPI_Datatype type) {
      check(MPI_Isend(data, count, type, to, kTag, mpi_->messages, &sending.requests.emplace_back()), "MPI_Isend",
            place());
    };
    start(sending.header.data(), kHeaderSize, MPI_INT64_T);
    for_pieces(values.size_bytes(), 1, [&](std::int64_t first, std::int64_t count) {
      start(byte_at(values.data(), first), narrow<int>(count), MPI_BYTE);
    });
  }

  void do_finish_sends(std::size_t under_way) override {
    while (sending_.size() > under_way) {
      for (MPI_Request& request : sending_.front().requests) wait(request, sending_.front().call);
      sending_.pop_front();
    }
  }

  // The job is about to end: nothing of it may wait for the others.
  void abandon_sends() noexcept override {
    if (!sending_.empty()) mpi_->calls->give_up();
  }

  void do_receive(const CollectiveCall& call, const Tensor& values, int from) override {
    Header header{};
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Irecv(header.data(), kHeaderSize, MPI_INT64_T, from, kTag, mpi_->messages, &request), "MPI_Irecv",
          place());
    wait(request, call);
    const CollectiveCall sent = call_of(header);
    if (sent.type != call.type || sent.count != call.count) {
      mpi_->calls->give_up();
      throw different_message(who(rank()), call, who(from), sent, place());
    }
    for_pieces(values.size_bytes(), 1, [&](std::int64_t first, std::int64_t count) {
      check(
          MPI_Irecv(byte_at(values.data(), first), narrow<int>(count), MPI_BYTE, from, kTag, mpi_->messages, &request),
          "MPI_Irecv", place());
      wait(request, call);
    });
  }

  void do_barrier(const CollectiveCall& call) override {
    begin(call);
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibarrier(mpi_->messages, &request), "MPI_Ibarrier", place());
    wait(request, call);
  }

  static constexpr int kTag = 1;
  static constexpr int kHeaderSize = 5;
  using Header = std::array<std::int64_t, kHeaderSize>;
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

  // Says that this rank has come, and compares what the others came for.
  void begin(const CollectiveCall& call) {
    mpi_->calls->arrive(mpi_->slot);
    if (!watch()->compare_calls) return;
    const Header mine = header_of(call);
    std::vector<Header> all(static_cast<std::size_t>(size()));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Iallgather(mine.data(), kHeaderSize, MPI_INT64_T, all.data(), kHeaderSize, MPI_INT64_T, mpi_->messages,
                         &request),
          "MPI_Iallgather", place());
    wait(request, call);
    for (int other = 0; other < size(); ++other) {
      const Header& theirs = all[static_cast<std::size_t>(other)];
      if (theirs == mine) continue;
      mpi_->calls->give_up();
      throw different_calls(who(rank()), call, who(other), call_of(theirs), place());
    }
  }

  // Long waits sleep: several ranks may share a core.
  void wait(MPI_Request& request, const CollectiveCall& call) {
    constexpr auto kSpin = std::chrono::microseconds(200);
    constexpr auto kLongestSleep = std::chrono::microseconds(500);
    const auto start = Clock::now();
    auto pause = std::chrono::microseconds(10);
    for (;;) {
      int done = 0;
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), name_of(call.kind).data(), place());
      if (done != 0) return;
      const auto waited = Clock::now() - start;
      if (waited < kSpin) continue;
      if (std::chrono::duration<double>(waited).count() > watch()->limit_s) stuck(call);
      mpi_->calls->answer();
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestSleep);
    }
  }

  [[noreturn]] void stuck(const CollectiveCall& call) {
    mpi_->calls->give_up();
    throw stuck_collective(call, *watch(), missing(call), place());
  }

  // Whom a call waits for.
  std::string missing(const CollectiveCall& call) const {
    if (call.kind == CollectiveKind::kSend) return who(call.detail) + " has not received";
    if (call.kind == CollectiveKind::kReceive) return who(call.detail) + " has not sent";
    std::vector<int> others;
    for (int r = 0; r < size(); ++r) {
      if (r != rank()) others.push_back(job_rank(r));
    }
    const RollCall::Missing missing = mpi_->calls->ask(others, mpi_->slot);
    const auto say = [&](const char* what, const std::vector<int>& ranks) {
      std::vector<std::string> names;
      for (const int other : ranks) names.push_back(watch()->who(other));
      return ranks.empty() ? std::string() : fmt::format("{}{}", what, fmt::join(names, ", "));
    };
    // Who answers waits, perhaps for the silent ones too: they come first.
    const std::string silent = say("no answer from ", missing.silent);
    const std::string absent = say("waiting in another call: ", missing.absent);
    if (absent.empty() && silent.empty()) return "all have arrived, and some do not finish";
    return silent + (absent.empty() || silent.empty() ? "" : "; ") + absent;
  }

  template <class Body>
  void for_pieces(std::int64_t count, std::int64_t width, const Body& body) {
    const std::int64_t step = std::max<std::int64_t>(options_.piece_bytes / width, 1);
    for (std::int64_t first = 0; first < count; first += step) body(first, std::min(step, count - first));
  }

  MPI_Op operation(ReduceOp op) const { return op == ReduceOp::kSumInteger ? MPI_SUM : mpi_->largest; }

  struct Sending {
    CollectiveCall call;
    Header header{};
    std::vector<MPI_Request> requests;
  };

  MpiOptions options_;
  std::unique_ptr<Handles> mpi_;
  std::vector<std::byte> shares_;  // of a piece of a reduction, from every rank
  std::deque<Sending> sending_;    // in the order in which they were begun; a deque keeps headers in their place
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiOptions& options) {
  const std::string place = "start of the job";
  MpiOptions resolved = options;
  if (!resolved.watch) resolved.watch = std::make_shared<CommunicatorWatch>();
  MPI_Comm world = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup", place);
  auto handles = std::make_unique<Handles>(world, std::make_shared<RollCall>(place), place);
  return std::make_unique<MpiCommunicator>(std::move(handles), "world", resolved);
}

}  // namespace baekji
