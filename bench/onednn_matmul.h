#pragma once
// The library that the CPU matmul is measured against: oneDNN, with its own threads, as a framework would call it.

#include <memory>

#include "kernels/kernels.h"

namespace baekji::bench {

/// One matmul problem of oneDNN, prepared. With `packed`, b is kept in the layout that the library prefers (not for
/// accumulation: a weight gradient has no weight).
class OnednnMatmul {
 public:
  OnednnMatmul(const MatmulArgs& args, bool packed, int threads);
  ~OnednnMatmul();
  OnednnMatmul(OnednnMatmul&&) noexcept;
  void run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji::bench
