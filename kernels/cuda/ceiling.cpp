#include "kernels/cuda/ceiling.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/random.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/matmul.h"

namespace baekji {
namespace {

constexpr int kRounds = 16;
constexpr int kPerRound = 16;              // long enough for the clock to settle, and for starting to cost nothing
constexpr int kRoundsToChoose = 3;         // of each algorithm
constexpr std::int64_t kPeriod = 1048573;  // of the random values: a prime, so that no two rows are alike

class DeviceBuffer {
 public:
  DeviceBuffer(Device device, std::int64_t size_bytes)
      : device_(device), size_bytes_(size_bytes), data_(allocate_memory(device, size_bytes)) {
    if (data_ != nullptr) return;
    throw Error("out of memory")
        .values(fmt::format("{} bytes to measure a ceiling with", size_bytes), "refused")
        .at(device.describe())
        .hint("log.measure_ceiling = false leaves it out, and mfu with it");
  }
  ~DeviceBuffer() { free_memory(device_, data_, size_bytes_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  Device device_;
  std::int64_t size_bytes_;
  void* data_;
};

// Uniform in (-1, 1).
template <class T>
void fill_random(cuda::Queue& queue, std::byte* to, std::int64_t count, std::string_view name) {
  const RandomStream stream("ceiling", 0, name);
  std::vector<T> values(static_cast<std::size_t>(std::min(kPeriod, count)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(static_cast<float>(2 * stream.uniform(i) - 1));
  const auto size = static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t done = 0; done < count; done += kPeriod) {
    queue.upload(values.data(), to + done * size, std::min(kPeriod, count - done) * size);
  }
}

void fill_random(cuda::Queue& queue, const DeviceBuffer& to, DType type, std::int64_t count, std::string_view name) {
  if (type == DType::kFloat32) return fill_random<float>(queue, to.data(), count, name);
  if (type == DType::kBfloat16) return fill_random<Bfloat16>(queue, to.data(), count, name);
  if (type == DType::kFloat8E4M3) return fill_random<Float8E4M3>(queue, to.data(), count, name);
  throw Error("no matmul ceiling for this type").values("fp32, bf16 or e4m3", name_of(type));
}

// The shortest time of `kPerRound` calls of `operation`, divided by their number.
template <class Operation>
double best_seconds(const cuda::Queue& queue, const Operation& operation) {
  cuda::Event begin;
  cuda::Event end;
  double best_ms = std::numeric_limits<double>::infinity();
  for (int round = -1; round < kRounds; ++round) {  // one to warm up
    begin.record(queue.stream());
    for (int i = 0; i < kPerRound; ++i) operation();
    end.record(queue.stream());
    const double time_ms = end.milliseconds_since(begin);
    if (round >= 0) best_ms = std::min(best_ms, time_ms);
  }
  return best_ms * 1e-3 / kPerRound;
}

std::string fastest_algorithm(cuda::Queue& queue, const MatmulArgs& args) {
  cuda::CudaMatmul matmul(queue);
  const auto times = matmul.time_algorithms(args, kRoundsToChoose);
  const auto best = std::min_element(times.begin(), times.end(),
                                     [](const auto& a, const auto& b) { return a.microseconds < b.microseconds; });
  return best == times.end() ? std::string() : best->line;
}

}  // namespace

double measure_matmul_ceiling(Device device, DType type, std::int64_t size) {
  cuda::Queue queue(device);
  const DType output = type == DType::kFloat32 ? type : DType::kBfloat16;
  const std::int64_t count = size * size;
  const DeviceBuffer a(device, count * size_of(type));
  const DeviceBuffer b(device, count * size_of(type));
  const DeviceBuffer c(device, count * size_of(output));
  const DeviceBuffer scale(device, size_of(DType::kFloat32));
  fill_random(queue, a, type, count, "a");
  fill_random(queue, b, type, count, "b");
  const float one = 1;
  queue.upload(&one, scale.data(), sizeof one);
  MatmulArgs args{.a = Tensor(a.data(), type, {size, size}, device),
                  .b = Tensor(b.data(), type, {size, size}, device),
                  .c = Tensor(c.data(), output, {size, size}, device),
                  .transpose_b = true};
  if (size_of(type) == 1) args.scale_a = args.scale_b = Tensor(scale.data(), DType::kFloat32, {1}, device);
  cuda::CudaMatmul matmul(queue, fastest_algorithm(queue, args));
  const double time_s = best_seconds(queue, [&] { matmul.run(args); });
  const auto extent = static_cast<double>(size);
  return 2 * extent * extent * extent / time_s;
}

double measure_copy_bandwidth(Device device, std::int64_t size_bytes) {
  cuda::Queue queue(device);
  const DeviceBuffer from(device, size_bytes);
  const DeviceBuffer to(device, size_bytes);
  const double time_s = best_seconds(queue, [&] {
    check_cuda(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(size_bytes), cudaMemcpyDefault,
                               queue.stream()),
               "cudaMemcpyAsync");
  });
  return 2 * static_cast<double>(size_bytes) / time_s;
}

}  // namespace baekji
