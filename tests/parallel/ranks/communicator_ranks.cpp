// The collectives of `mpi`, on however many ranks mpirun has started. One line of output, from rank 0.

#include <fmt/format.h>

#include <chrono>
#include <string>
#include <thread>

#include "core/device_cuda.h"
#include "parallel/communicator_mpi.h"
#include "parallel/launch.h"
#include "tests/parallel/communicator_cases.h"

namespace baekji {
namespace {

// Pieces of any size: many per message, and messages of one piece.
void collectives(const Launch& launch) {
  for (const std::int64_t piece_bytes : {4096, 1 << 20}) {
    const auto watch = std::make_shared<CommunicatorWatch>();
    watch->compare_calls = piece_bytes == 4096;
    const auto world = make_mpi_communicator({.watch = watch, .piece_bytes = piece_bytes});
    cases::expect(world->size() == launch.size() && world->rank() == launch.rank(), "world");
    cases::check_everything(*world);
  }
}

// Tensors of a GPU, which all ranks of the machine share.
void device_tensors() {
  const auto world = make_mpi_communicator({});
  cases::check_everything(*world, select_cuda_device(world->rank()));
}

// More bytes than an int counts.
void long_messages(const Launch& launch) {
  const auto world = make_mpi_communicator({.piece_bytes = std::int64_t{1} << 28});
  const std::int64_t count = (std::int64_t{1} << 28) + 5;  // int64: 2 GiB and 40 bytes
  std::vector<std::int64_t> values(static_cast<std::size_t>(count), launch.rank() + 1);
  world->all_reduce(cases::tensor_of(values), ReduceOp::kSumInteger);
  const std::int64_t sum = launch.size() * (launch.size() + 1) / 2;
  for (const std::int64_t x : values) cases::expect(x == sum, "all_reduce of more than 2^31 bytes");
  if (launch.rank() == 0) values.back() = -7;
  world->broadcast(cases::tensor_of(values), 0);
  cases::expect(values.back() == -7, "broadcast of more than 2^31 bytes");
}

void mismatch(const Launch& launch) {
  const auto watch = std::make_shared<CommunicatorWatch>();
  watch->compare_calls = true;
  const auto world = make_mpi_communicator({.watch = watch});
  std::vector<std::int64_t> values(static_cast<std::size_t>(launch.rank() == 1 ? 5 : 4));
  world->all_reduce(cases::tensor_of(values), ReduceOp::kSumInteger);
}

void absent(const Launch& launch) {
  const auto watch = std::make_shared<CommunicatorWatch>();
  watch->limit_s = 1;
  watch->step = 17;
  watch->compare_calls = false;
  const auto world = make_mpi_communicator({.watch = watch});
  if (launch.rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(60));
  world->barrier();
}

int run(const std::string& what) {
  const Launch launch;
  try {
    if (what == "collectives") collectives(launch);
    if (what == "device") device_tensors();
    if (what == "long") long_messages(launch);
    if (what == "mismatch") mismatch(launch);
    if (what == "absent") absent(launch);
  } catch (const Error& error) {
    launch.abort(error.what());
  }
  if (launch.rank() == 0) fmt::print("mpi: {} as expected on {} ranks\n", what, launch.size());
  return 0;
}

}  // namespace
}  // namespace baekji

int main(int count, char** arguments) {
  return baekji::run(count > 1 ? arguments[1] : "collectives");
}
