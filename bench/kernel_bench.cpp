// kernel_bench [--threads N] [--rounds N]: the CPU kernels against this machine's ceilings and against oneDNN, all in
// one run, because figures of shared machines drift.

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <thread>

#include "bench/bench.h"
#include "core/error.h"
#include "kernels/cpu/ceiling.h"

namespace baekji::bench {
namespace {

int positive(std::string_view option, const char* text) {
  int value = 0;
  const char* end = text + std::strlen(text);
  if (std::from_chars(text, end, value).ptr != end || value < 1) {
    throw Error("an option needs a positive number").values(fmt::format("{} N", option), text);
  }
  return value;
}

Options parse(int count, char** arguments) {
  Options options{.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  for (int i = 1; i < count; i += 2) {
    const std::string_view option = arguments[i];
    if ((option != "--threads" && option != "--rounds") || i + 1 == count) {
      throw Error("unknown option").values("--threads N, --rounds N", option);
    }
    (option == "--threads" ? options.threads : options.rounds) = positive(option, arguments[i + 1]);
  }
  return options;
}

/// Bytes/s of reading a buffer much larger than the caches.
double measure_read_bandwidth(ThreadPool& pool) {
  constexpr std::int64_t kWords = std::int64_t{32} << 20;
  constexpr std::int64_t kPieces = 64;
  std::vector<std::uint64_t> words(kWords, 1);
  std::vector<std::uint64_t> sums(kPieces);
  const double seconds = best_times_s({[&] {
                                        pool.run(kPieces, [&](std::int64_t piece) {
                                          std::uint64_t sum = 0;
                                          const std::uint64_t* from = words.data() + piece * (kWords / kPieces);
                                          for (std::int64_t i = 0; i < kWords / kPieces; ++i) sum += from[i];
                                          sums[static_cast<std::size_t>(piece)] = sum;
                                        });
                                      }},
                                      {.threads = pool.threads(), .rounds = 5})[0];
  for (const std::uint64_t sum : sums)
    require_equal(std::uint64_t{kWords / kPieces}, sum, "a sum that was read", "read bandwidth");
  return static_cast<double>(kWords) * sizeof(std::uint64_t) / seconds;
}

void run(const Options& options) {
  ThreadPool pool(options.threads);
  fmt::print("{} threads\n", options.threads);
  fmt::print(
      "ceilings: matmul {:.0f} GFLOP/s fp32, {:.0f} bf16; memory {:.1f} GB/s read, {:.1f} GB/s copied (read + "
      "written)\n",
      1e-9 * measure_matmul_ceiling(pool, DType::kFloat32), 1e-9 * measure_matmul_ceiling(pool, DType::kBfloat16),
      1e-9 * measure_read_bandwidth(pool), 1e-9 * measure_copy_bandwidth(pool));
  run_attention_bench(options, pool);
  run_matmul_bench(options, pool);
}

}  // namespace
}  // namespace baekji::bench

int main(int count, char** arguments) {
  try {
    baekji::bench::run(baekji::bench::parse(count, arguments));
  } catch (const baekji::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
