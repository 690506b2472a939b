#include "bench/bench.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "core/random.h"

namespace baekji::bench {
namespace {

ModelSize model_size(std::string name, std::int64_t hidden, std::int64_t ffn, std::int64_t vocab, std::int64_t layers) {
  constexpr std::int64_t kTokens = 4096;  // of a micro-batch
  constexpr std::int64_t kLossChunk = 1024;
  return {.name = std::move(name),
          .tokens = kTokens,
          .layers = {{.name = "qkv", .rows = kTokens, .in = hidden, .out = 3 * hidden, .times = layers},
                     {.name = "output", .rows = kTokens, .in = hidden, .out = hidden, .times = layers},
                     {.name = "gate+up", .rows = kTokens, .in = hidden, .out = 2 * ffn, .times = layers},
                     {.name = "down", .rows = kTokens, .in = ffn, .out = hidden, .times = layers},
                     {.name = "head", .rows = kLossChunk, .in = hidden, .out = vocab, .times = kTokens / kLossChunk}}};
}

double now_s(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

Tensor Tensors::make(DType type, std::initializer_list<std::int64_t> dims) {
  std::int64_t size = 1;
  for (const std::int64_t dim : dims) size *= dim;
  const HostBuffer& block = blocks_.emplace_back(Device(), size * size_of(type));
  const Tensor t(block.data(), type, dims);
  const RandomStream stream("kernel bench", 1, std::to_string(blocks_.size()));
  constexpr std::int64_t kPeriod = 4099;  // a prime: rows do not repeat one another
  std::vector<float> values(kPeriod);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(2 * stream.uniform(i) - 1);
  for (std::int64_t i = 0; i < size; ++i) {
    const float value = values[static_cast<std::size_t>(i % kPeriod)];
    if (type == DType::kBfloat16)
      t.as<Bfloat16>()[i] = Bfloat16(value);
    else
      t.as<float>()[i] = value;
  }
  return t;
}

std::vector<double> best_times_s(const std::vector<std::function<void()>>& candidates, const Options& options) {
  const clockid_t clock = options.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  std::vector<double> best(candidates.size(), std::numeric_limits<double>::infinity());
  for (int round = 0; round <= options.rounds; ++round) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (candidates.size() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(25));
      candidates[i]();  // wakes the threads; in a step, kernels follow one another
      const double start_s = now_s(clock);
      candidates[i]();
      const double seconds = now_s(clock) - start_s;
      if (round > 0) best[i] = std::min(best[i], seconds);
    }
  }
  return best;
}

std::vector<ModelSize> model_sizes() {
  return {model_size("10M", 256, 688, 4096, 8), model_size("50M", 512, 1376, 8192, 12)};
}

}  // namespace baekji::bench
