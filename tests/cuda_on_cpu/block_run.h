#pragma once
// The threads of one block of a kernel, as fibers on one thread of the host.

#include <setjmp.h>
#include <ucontext.h>

#include <cuda_runtime.h>
#include <array>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

namespace cuda_on_cpu {

/// Runs one block. A fiber runs one thread after another and leaves the rest to another fiber only where a thread has
/// to wait, so a kernel without barriers needs one, and no switch.
class BlockRun {
 public:
  BlockRun(const dim3& size, const std::function<void()>& thread);

  /// Rethrows what a thread threw. Ends the process when threads wait for each other for ever.
  void run();
  static BlockRun& current() { return *current_; }

  void block_barrier() { wait(block_); }
  void warp_barrier() { wait(warps_[active_ / 32]); }
  int lane() const { return static_cast<int>(active_ % 32); }
  void publish(const void* value, std::size_t size);
  void fetch(int lane, void* value, std::size_t size) const;

 private:
  // Opens when all living threads have come.
  struct Barrier {
    std::size_t living = 0;
    std::size_t arrived = 0;
    std::size_t opened = 0;
    void open_if_all_are_here() {
      if (living == 0 || arrived < living) return;
      arrived = 0;
      ++opened;
    }
  };
  struct Fiber {
    ucontext_t context{};  // of its beginning
    jmp_buf at{};          // where it waits
    std::unique_ptr<std::byte[]> stack;
    std::size_t thread = 0;
    const Barrier* barrier = nullptr;  // null: it runs, or is free
    std::size_t opened = 0;            // of the barrier, when it came
    bool begun = false;
    bool free = true;
  };

  static void enter();
  void begin_fibers();
  void resume(Fiber& fiber);
  void run_threads();
  void set_active(std::size_t thread);
  void wait(Barrier& barrier);
  void end_thread();

  static thread_local BlockRun* current_;
  static thread_local std::vector<std::unique_ptr<Fiber>> fibers_;  // kept from block to block

  const std::function<void()>& thread_;
  std::size_t threads_;
  dim3 size_;
  Barrier block_;
  std::vector<Barrier> warps_;
  std::vector<std::array<std::byte, 16>> slots_;
  jmp_buf scheduler_{};
  Fiber* fiber_ = nullptr;  // that runs
  std::size_t active_ = 0;  // its thread
  std::size_t used_ = 0;    // fibers of this block
  std::size_t started_ = 0;
  std::size_t finished_ = 0;
  std::exception_ptr failure_;
};

}  // namespace cuda_on_cpu
