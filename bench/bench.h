#pragma once
// What the kernel benchmarks share: memory, clocks, the two model sizes they speak of.

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace baekji::bench {

struct Options {
  int threads = 1;
  int rounds = 7;
};

/// Owned tensors of reproducible values in (-1, 1), in memory of the kind that arenas have.
class Tensors {
 public:
  Tensor make(DType type, std::initializer_list<std::int64_t> dims);

 private:
  std::deque<HostBuffer> blocks_;
};

/// The shortest of the rounds of each candidate, in seconds (one thread: of its CPU time, so that others on a shared
/// machine count less), taken in turns so that a slow spell of a shared machine
/// hits all of them, each after an unmeasured run. Between candidates there is a pause, because OpenMP's
/// threads go on spinning for a while after a parallel region.
std::vector<double> best_times_s(const std::vector<std::function<void()>>& candidates, const Options& options);

/// The linear layers of one model size: a weight [out, in] used `times` times a step by `rows` tokens each.
struct LinearLayer {
  std::string name;
  std::int64_t rows = 0;
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t times = 0;
};
struct ModelSize {
  std::string name;
  std::int64_t tokens = 0;
  std::vector<LinearLayer> layers;
};
std::vector<ModelSize> model_sizes();

void run_matmul_bench(const Options& options, ThreadPool& pool);
void run_attention_bench(const Options& options, ThreadPool& pool);

}  // namespace baekji::bench
