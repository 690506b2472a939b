// The communicator over NCCL, with the stand-ins for NCCL and for the CUDA runtime: its calls, their order in streams,
// and what it says when ranks are lost. Not run on hardware with more than one GPU.

#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <nccl.h>

#include <chrono>
#include <functional>
#include <thread>

#include "core/device_cuda.h"
#include "parallel/communicator_nccl.h"
#include "parallel/communicator_threads.h"
#include "tests/parallel/communicator_cases.h"

namespace baekji {
namespace {

using cases::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A group has one stream, in which a receive comes after the sends before it.
constexpr bool kOneWay = false;

// A rank of a job with a GPU of its own, as the thread of a rank sees it.
struct Rank {
  Communicator& host;
  Device gpu;
  cudaStream_t compute = nullptr;
  std::unique_ptr<Communicator> world;
};

std::shared_ptr<CommunicatorWatch> watch_of(double limit_s, bool compare_calls = false) {
  auto watch = std::make_shared<CommunicatorWatch>();
  watch->limit_s = limit_s;
  watch->compare_calls = compare_calls;
  watch->step = 17;
  return watch;
}

// `body` on `ranks` ranks whose tensors of the host go over `threads`.
void run_with_nccl(int ranks, const std::shared_ptr<CommunicatorWatch>& watch,
                   const std::function<void(Rank& rank)>& body) {
  run_as_ranks(
      ranks,
      [&](Communicator& host) {
        cuda_on_cpu::gpu_of_thread = host.rank();
        Rank rank{.host = host, .gpu = select_cuda_device(0)};
        cudaStreamCreateWithFlags(&rank.compute, cudaStreamDefault);
        rank.world = make_nccl_communicator({.host = host.split(0, host.rank(), "host"),
                                             .device = rank.gpu,
                                             .compute_stream = rank.compute,
                                             .watch = watch});
        cuda_on_cpu::take_journal();
        body(rank);
        rank.world.reset();
        cudaStreamDestroy(rank.compute);
      },
      watch);
}

// The same with nothing but NCCL.
void run_with_nccl_alone(int ranks, const std::function<void(Rank& rank)>& body) {
  run_as_ranks(ranks, [&](Communicator& host) {
    cuda_on_cpu::gpu_of_thread = host.rank();
    Rank rank{.host = host, .gpu = select_cuda_device(0)};
    cudaStreamCreateWithFlags(&rank.compute, cudaStreamDefault);
    const auto share = [&](const std::string& blob) {
      std::vector<std::int64_t> words(blob.size() / sizeof(std::int64_t));
      std::memcpy(words.data(), blob.data(), blob.size());
      host.broadcast(cases::tensor_of(words), 0);
      std::string result(blob.size(), '\0');
      std::memcpy(result.data(), words.data(), result.size());
      return result;
    };
    rank.world = make_nccl_communicator({.here = {.rank = host.rank(), .size = host.size()},
                                         .share = share,
                                         .device = rank.gpu,
                                         .compute_stream = rank.compute});
    body(rank);
    rank.world.reset();
    cudaStreamDestroy(rank.compute);
  });
}

// The host waits for the device (Kernels::download, as at the end of a step) and asks now and then how the ranks are.
void wait_and_check(Rank& rank) {
  const auto start = std::chrono::steady_clock::now();
  while (cudaStreamQuery(rank.compute) == cudaErrorNotReady) {
    rank.world->check_ranks(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(Nccl, GivesWhatAnyNumberOfRanksMustGive) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const bool compare_calls : {false, true}) {
      run_with_nccl(ranks, watch_of(60, compare_calls), [](Rank& rank) {
        cases::check_everything(*rank.world, rank.gpu, kOneWay);
        cases::check_everything(*rank.world);
      });
    }
    std::printf("nccl (stand-in): every collective agrees with its oracle on %d ranks\n", ranks);
  }
  EXPECT_EQ(nccl_on_cpu::aborted(), 0);
  EXPECT_GT(nccl_on_cpu::destroyed(), 0);
}

TEST(Nccl, CarriesTensorsOfTheHostWhereThereIsNothingElse) {
  for (const int ranks : {1, 2, 3}) {
    run_with_nccl_alone(ranks, [](Rank& rank) {
      cases::check_everything(*rank.world, rank.gpu, kOneWay);
      cases::check_everything(*rank.world, {}, kOneWay);
    });
  }
}

// Stream 1 is the compute stream, stream 2 that of the group.
TEST(Nccl, TheComputeStreamWaitsForACall) {
  run_with_nccl(2, watch_of(60), [](Rank& rank) {
    cases::Values<std::int64_t> values(rank.gpu, 128);
    rank.world->all_reduce(values.tensor(), ReduceOp::kSumInteger);
    const std::vector<std::string> journal = cuda_on_cpu::take_journal();
    cases::expect(journal.size() == 5, fmt::format("journal: {}", fmt::join(journal, "; ")));
    cases::expect(journal[0].starts_with("1: record "), "the compute stream's place is marked");
    const std::string begun = journal[0].substr(journal[0].rfind(' '));
    cases::expect(journal[1] == "2: wait" + begun, "the group's stream waits for it");
    cases::expect(journal[2] == "2: ncclAllReduce sum int64 128", journal[2]);
    const std::string done = journal[3].substr(journal[3].rfind(' '));
    cases::expect(journal[3] == "2: record" + done, "the end is marked");
    cases::expect(journal[4] == "1: wait" + done, "and the compute stream waits for it");
  });
}

std::vector<std::string> without_numbers(std::vector<std::string> journal) {
  for (std::string& line : journal) {
    if (line.find("record") != std::string::npos || line.find("wait") != std::string::npos) line.erase(line.rfind(' '));
  }
  return journal;
}

void expect_journal(const std::vector<std::string>& expected) {
  const std::vector<std::string> came = without_numbers(cuda_on_cpu::take_journal());
  cases::expect(came == expected, fmt::format("journal: {}", fmt::join(came, "; ")));
}

TEST(Nccl, CallsAreThoseOfTheContract) {
  run_with_nccl(2, watch_of(60), [](Rank& rank) {
    cases::Values<float> values(rank.gpu, 10);
    cases::Values<float> more(rank.gpu, 20);
    cases::Values<float> others(rank.gpu, 20);
    const auto expect_call = [](const std::string& call) {
      expect_journal({"1: record", "2: wait", "2: " + call, "2: record", "1: wait"});
    };
    rank.world->all_reduce(values.tensor(), ReduceOp::kMax);
    expect_call("ncclAllReduce max int32 10");
    rank.world->reduce_scatter(more.tensor(), values.tensor(), ReduceOp::kMax);
    expect_call("ncclReduceScatter max int32 10");
    rank.world->all_gather(values.tensor(), more.tensor());
    expect_call("ncclAllGather uint8 40");
    rank.world->broadcast(values.tensor(), 1);
    expect_call("ncclBroadcast uint8 40");
    rank.world->all_to_all(more.tensor(), others.tensor());
    expect_call("ncclSend 40 to 0, ncclRecv 40 from 0, ncclSend 40 to 1, ncclRecv 40 from 1");
  });
}

TEST(Nccl, TheComputeStreamWaitsForSendsOnlyWhereTheyAreFinished) {
  run_with_nccl(2, watch_of(60), [](Rank& rank) {
    const auto edge = rank.world->split(0, rank.world->rank(), "edge");
    cases::Values<float> a(rank.gpu, 8);
    cases::Values<float> b(rank.gpu, 16);
    cuda_on_cpu::take_journal();
    if (rank.world->rank() == 0) {
      edge->start_send(a.tensor(), 1);
      edge->start_send(b.tensor(), 1);
      expect_journal({"1: record", "3: wait", "3: ncclSend 32 to 1", "3: record",  //
                      "1: record", "3: wait", "3: ncclSend 64 to 1", "3: record"});
      edge->finish_sends(1);
      expect_journal({"1: wait"});
      edge->finish_sends(1);
      expect_journal({});
      edge->finish_sends();
      expect_journal({"1: wait"});
    } else {
      edge->receive(a.tensor(), 0);
      edge->receive(b.tensor(), 0);
      expect_journal({"1: record", "3: wait", "3: ncclRecv 32 from 0", "3: record", "1: wait",  //
                      "1: record", "3: wait", "3: ncclRecv 64 from 0", "3: record", "1: wait"});
    }
  });
}

TEST(Nccl, ADeferredCallIsWaitedForWhereItIsFinished) {
  run_with_nccl(2, watch_of(60), [](Rank& rank) {
    cases::Values<float> part(rank.gpu, 8);
    cases::Values<float> whole(rank.gpu, 16);
    const auto first = rank.world->start_all_gather(part.tensor(), whole.tensor());
    const auto second = rank.world->start_all_gather(part.tensor(), whole.tensor());
    expect_journal({"1: record", "2: wait", "2: ncclAllGather uint8 32", "2: record",  //
                    "1: record", "2: wait", "2: ncclAllGather uint8 32", "2: record"});
    rank.world->finish(first);
    expect_journal({"1: wait"});
    rank.world->finish(second);
    expect_journal({"1: wait"});
    // Tensors of the host have nothing to wait for.
    std::vector<std::int64_t> value{1};
    rank.world->finish(rank.world->start_all_reduce(cases::tensor_of(value), ReduceOp::kSumInteger));
    expect_journal({});
    cases::expect(value[0] == 2, "sum");
  });
}

TEST(Nccl, TwoRanksOnOneGpuAreRefusedBeforeNcclSeesThem) {
  const std::string message = message_of([] {
    run_as_ranks(3, [](Communicator& host) {
      cuda_on_cpu::gpu_of_thread = host.rank() == 2 ? 0 : host.rank();
      const Device gpu = select_cuda_device(0);
      make_nccl_communicator({.host = host.split(0, host.rank(), "host"), .device = gpu});
    });
  });
  EXPECT_THAT(message, AllOf(HasSubstr("a GPU for each rank"), HasSubstr("rank 0 and rank 2 on one GPU"),
                             HasSubstr("layout.communicator = \"mpi\"")));
}

TEST(Nccl, WithoutAHostsCommunicatorNcclRefusesThem) {
  const std::string message = message_of([] {
    run_with_nccl_alone(2, [](Rank& rank) {
      cuda_on_cpu::gpu_of_thread = 7;
      rank.world->split(0, rank.world->rank(), "tensor");
    });
  });
  EXPECT_THAT(message, AllOf(HasSubstr("invalid usage"), HasSubstr("tensor group"), HasSubstr("two ranks on one GPU")));
}

TEST(Nccl, AnOldLibraryIsRefused) {
  nccl_on_cpu::set_version(21805);
  const std::string message =
      message_of([] { make_nccl_communicator({.host = make_self_communicator(), .device = select_cuda_device(0)}); });
  nccl_on_cpu::set_version(22809);
  EXPECT_THAT(message, AllOf(HasSubstr("NCCL is too old"), HasSubstr("2.19 or later"), HasSubstr("2.18")));
}

TEST(Nccl, CallsThatDifferAreNamedWhereTheyAreCompared) {
  const std::string message = message_of([] {
    run_with_nccl(2, watch_of(1, true), [](Rank& rank) {
      cases::Values<std::int64_t> values(rank.gpu, 4 + rank.world->rank());
      rank.world->all_reduce(values.tensor(), ReduceOp::kSumInteger);
    });
  });
  EXPECT_THAT(message, AllOf(HasSubstr("different calls"), HasSubstr("all_reduce 0 of 5 int64 (sum)")));
  const std::string sent = message_of([] {
    run_with_nccl(2, watch_of(1, true), [](Rank& rank) {
      cases::Values<std::int64_t> values(rank.gpu, 4 + rank.world->rank());
      if (rank.world->rank() == 0)
        rank.world->send(values.tensor(), 1);
      else
        rank.world->receive(values.tensor(), 0);
      wait_and_check(rank);
    });
  });
  EXPECT_THAT(sent, AllOf(HasSubstr("send 0 of 4 int64"), HasSubstr("receive 0 of 5 int64")));
}

TEST(Nccl, ALostRankIsOneClearErrorAndTheGroupsAreAborted) {
  const int aborted = nccl_on_cpu::aborted();
  const std::string message = message_of([] {
    run_with_nccl(2, watch_of(60), [](Rank& rank) {
      const auto tensor = rank.world->split(0, rank.world->rank(), "tensor");
      cases::Values<std::int64_t> values(rank.gpu, 4);
      if (rank.world->rank() == 1) throw Error("rank 1 is lost");
      tensor->all_reduce(values.tensor(), ReduceOp::kSumInteger);
      nccl_on_cpu::fail_all(ncclRemoteError);
      const std::string mine = message_of([&] { wait_and_check(rank); });
      EXPECT_THAT(mine, AllOf(HasSubstr("NCCL failed in"), HasSubstr("remote process exited"), HasSubstr("rank 0"),
                              HasSubstr("group, step 17"), HasSubstr("the last checkpoint stands")));
      throw Error("as above");
    });
  });
  EXPECT_NE(message, "no error");
  EXPECT_EQ(nccl_on_cpu::aborted(), aborted + 4);  // two groups of each rank
}

TEST(Nccl, ARankThatDoesNotComeIsAnErrorWithinTheLimit) {
  const std::string message = message_of([] {
    run_with_nccl(2, watch_of(0.5), [](Rank& rank) {
      const auto tensor = rank.world->split(0, rank.world->rank(), "tensor");
      cases::Values<std::int64_t> values(rank.gpu, 4);
      if (rank.world->rank() == 1) {
        std::this_thread::sleep_for(std::chrono::seconds(2));
        throw Error("late");
      }
      tensor->all_reduce(values.tensor(), ReduceOp::kSumInteger);
      wait_and_check(rank);
    });
  });
  EXPECT_THAT(message,
              AllOf(HasSubstr("a collective is stuck"), HasSubstr("all_reduce 0 of 4 int64 (sum) within 0.5 s"),
                    HasSubstr("rank 0, tensor group, step 17")));
}

TEST(Nccl, AStartWithoutAllRanksEndsWithinTheLimit) {
  const std::string message = message_of([] {
    make_nccl_communicator({.here = {.rank = 0, .size = 2},
                            .share = [](const std::string& blob) { return blob; },
                            .device = select_cuda_device(0),
                            .watch = watch_of(0.3)});
  });
  EXPECT_THAT(message, AllOf(HasSubstr("stuck"), HasSubstr("world group"), HasSubstr("the other rank")));
}

}  // namespace
}  // namespace baekji
