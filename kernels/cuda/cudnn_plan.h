#pragma once
// One execution plan of cuDNN for attention: its graph, and how it is built and run. The only header that shows cuDNN.

#include <cudnn.h>

#include <compare>
#include <cstdint>
#include <memory>
#include <string>

#include "core/tensor.h"

namespace baekji::cuda {

/// The strides of a [B, T, heads, D] tensor, in elements; heads themselves are dense.
struct HeadStrides {
  std::int64_t sequence = 0;
  std::int64_t row = 0;
  std::int64_t head = 0;
  auto operator<=>(const HeadStrides&) const = default;
};

/// All that a plan depends on.
struct AttentionProblem {
  bool backward = false;
  bool document_mask = false;
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t width = 0;
  HeadStrides q, k, v, y;
  HeadStrides dy, dq, dk, dv;  ///< backward
  float scale = 1;
  auto operator<=>(const AttentionProblem&) const = default;
  std::string describe() const;
};

/// The tensors of one run; null where the problem has none.
struct AttentionPointers {
  void* q = nullptr;
  void* k = nullptr;
  void* v = nullptr;
  void* y = nullptr;
  void* lse = nullptr;
  void* bias = nullptr;
  void* dy = nullptr;
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
};

/// How far a plan comes for a device that is described, not there.
struct PlanCheck {
  bool valid = false;      ///< the front end takes the graph
  bool lowered = false;    ///< and the library its lowered form
  bool proposed = false;   ///< the library has engines for it, which need its driver, a real one or the toolkit's stub
  bool supported = false;  ///< one of them is deterministic, serves the graph and keeps to the memory
  std::string stopped;     ///< what stopped it
};

class CudnnPlan {
 public:
  /// The graph, for devices of this compute capability (90, 100). What is wrong with it shows in build().
  CudnnPlan(const AttentionProblem& problem, int compute_capability);
  ~CudnnPlan();

  /// Chooses an engine among those that cuDNN's heuristics (mode A) propose and that are not marked non-deterministic,
  /// and compiles. Throws Error with cuDNN's words when there is none.
  void build(cudnnHandle_t handle);
  std::int64_t workspace_bytes() const;
  /// The engine and its settings in cuDNN's notation.
  std::string name() const;
  void run(cudnnHandle_t handle, const AttentionPointers& tensors, void* workspace) const;

  /// build() up to the point where a device is needed, for a device given by cuDNN's own JSON form of its properties;
  /// engines that want more than `workspace_bytes` do not count. Instead of build(), once.
  PlanCheck check(const std::string& device_json, std::int64_t workspace_bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji::cuda
