// Tensors of a GPU through communicators that know nothing of it. The GPU is the stand-in on the CPU
// (tests/cuda_on_cpu), whose memory faults when anything but a copy or a kernel touches it.

#include <cuda_runtime.h>
#include <gmock/gmock.h>

#include <functional>

#include "core/device_cuda.h"
#include "parallel/communicator.h"
#include "parallel/communicator_threads.h"
#include "tests/parallel/communicator_cases.h"

namespace baekji {
namespace {

using cases::message_of;
using ::testing::HasSubstr;

TEST(Staging, SelfTakesTensorsOfADevice) {
  const Device gpu = select_cuda_device(0);
  const auto self = make_self_communicator();
  cases::check_everything(*self, gpu);
}

TEST(Staging, ThreadsTakeTensorsOfADevice) {
  for (const int ranks : {1, 2, 3, 4}) {
    run_as_ranks(ranks, [](Communicator& world) {
      const Device gpu = select_cuda_device(0);
      cases::check_everything(world, gpu);
      cases::check_everything(world);
    });
    std::printf("threads: every collective takes tensors of a device on %d ranks\n", ranks);
  }
}

TEST(Staging, ACallIsInOnePlace) {
  const Device gpu = select_cuda_device(0);
  cases::Values<float> host(Device{}, 6);
  cases::Values<float> device(gpu, 6);
  const auto self = make_self_communicator();
  EXPECT_THAT(message_of([&] { self->all_gather(host.tensor(), device.tensor()); }), HasSubstr("in one place"));
  EXPECT_THAT(message_of([&] { self->all_to_all(device.tensor(), host.tensor()); }), HasSubstr("in one place"));
  EXPECT_THAT(message_of([&] { self->reduce_scatter(device.tensor(), host.tensor(), ReduceOp::kMax); }),
              HasSubstr("in one place"));
}

// A send's copy stays until the receiver has it, while the sender goes on to write to what it has sent.
TEST(Staging, ASendMayBeOverwrittenOnceItIsBegun) {
  run_as_ranks(2, [](Communicator& world) {
    const Device gpu = select_cuda_device(0);
    const auto edge = world.split(0, world.rank(), "edge");
    cases::Values<float> values(cases::filled<float>(world.rank(), 1000), gpu);
    cases::Values<float> kept(cases::filled<float>(world.rank(), 1000), gpu);
    cases::Values<float> nothing(gpu, 1000);
    for (int round = 0; round < 4; ++round) {
      if (world.rank() == 0) {
        edge->start_send(values.tensor(), 1);
        edge->start_send(values.tensor(), 1);
        copy_memory({values.tensor().data(), gpu}, {nothing.tensor().data(), gpu}, 4000);
        world.barrier();
        edge->finish_sends(1);
        edge->finish_sends();
        copy_memory({values.tensor().data(), gpu}, {kept.tensor().data(), gpu}, 4000);
      } else {
        world.barrier();
        for (int i = 0; i < 2; ++i) {
          cases::Values<float> came(gpu, 1000);
          edge->receive(came.tensor(), 0);
          cases::expect(came.read() == cases::filled<float>(0, 1000), "a send keeps its values");
        }
      }
    }
  });
}

// The largest tensors have come by: no call takes memory any more.
TEST(Staging, MemoryIsKept) {
  const Device gpu = select_cuda_device(0);
  int allocations = 0;
  run_as_ranks(2, [&](Communicator& world) {
    select_cuda_device(0);
    cases::Values<std::int64_t> values(gpu, 5000);
    cases::Values<std::int64_t> few(gpu, 100);
    for (int i = 0; i < 5; ++i) {
      world.all_reduce(values.tensor(), ReduceOp::kSumInteger);
      world.start_send(values.tensor(), 1 - world.rank());
      world.start_send(few.tensor(), 1 - world.rank());
      world.receive(values.tensor(), 1 - world.rank());
      world.receive(few.tensor(), 1 - world.rank());
      world.finish_sends();
      world.barrier();
      if (world.rank() == 0 && i == 0) allocations = cuda_on_cpu::host_allocations_made();
      world.barrier();
    }
  });
  EXPECT_GT(allocations, 0);
  EXPECT_EQ(cuda_on_cpu::host_allocations_made(), allocations);
}

}  // namespace
}  // namespace baekji
