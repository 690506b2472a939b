#pragma once
// What step_bench measures and prints, for each kind of device.

#include <cstdint>

#include "core/thread_pool.h"
#include "trainer/experiment.h"

namespace baekji::bench {

struct StepBenchOptions {
  std::int64_t steps = 5;  ///< timed
  int rounds = 3;          ///< of each product of oneDNN; the CPU alone
  bool json = false;       ///< one line for scripts instead of tables
  bool operations = true;  ///< on a GPU: also steps that wait after each operation, for the table of operations
  std::int64_t ceiling_size = 8192;  ///< on a GPU: rows and columns of the products of its ceiling, and of the copies
};

/// On the CPU: against the GEMM-only bound, every matrix product of a step at the faster of oneDNN packed and unpacked.
void report_cpu_steps(const Experiment& experiment, const StepBenchOptions& options, ThreadPool& pool);

/// On a GPU: against a bound from the two ceilings of the same run, which is not a library's time: the arithmetic of
/// the step's matrix products and attention at the matmul ceiling of their operands' type, and the bytes of all other
/// operations, each operand once, at the copy bandwidth. Throws Error where there is no GPU.
void report_gpu_steps(const Experiment& experiment, const StepBenchOptions& options, ThreadPool& pool);

}  // namespace baekji::bench
