#include "tests/cuda_on_cpu/block_run.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

namespace cuda_on_cpu {
namespace {

// Apart from its caller: getcontext() may return twice as far as the compiler knows.
void prepare(ucontext_t& context, std::span<std::byte> stack, void (*enter)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack.data();
  context.uc_stack.ss_size = stack.size();
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
}

}  // namespace

thread_local BlockRun* BlockRun::current_ = nullptr;
thread_local std::vector<std::unique_ptr<BlockRun::Fiber>> BlockRun::fibers_;

BlockRun::BlockRun(const dim3& size, const std::function<void()>& thread)
    : thread_(thread), threads_(std::size_t{size.x} * size.y * size.z), size_(size), slots_(threads_) {
  block_.living = threads_;
  for (std::size_t first = 0; first < threads_; first += 32)
    warps_.push_back({.living = std::min<std::size_t>(32, threads_ - first)});
}

void BlockRun::run() {
  current_ = this;
  begin_fibers();
  while (finished_ < threads_ && !failure_) {
    bool moved = false;
    for (std::size_t f = 0; f < used_ && !failure_; ++f) {
      Fiber& fiber = *fibers_[f];
      if (fiber.free || fiber.barrier->opened == fiber.opened) continue;
      resume(fiber);
      moved = true;
    }
    if (moved) continue;
    std::fputs("cuda_on_cpu: threads of a block wait for each other for ever\n", stderr);
    std::abort();
  }
  current_ = nullptr;
  if (!failure_) return;
  // Fibers that still wait are lost with their stacks.
  std::erase_if(fibers_, [](const std::unique_ptr<Fiber>& fiber) { return !fiber->free; });
  std::rethrow_exception(failure_);
}

// Runs all threads up to their first barrier.
void BlockRun::begin_fibers() {
  constexpr std::size_t kStackBytes = 64 << 10;
  while (started_ < threads_ && !failure_) {
    if (used_ == fibers_.size()) {
      auto fiber = std::make_unique<Fiber>();
      fiber->stack = std::make_unique<std::byte[]>(kStackBytes);
      prepare(fiber->context, {fiber->stack.get(), kStackBytes}, &BlockRun::enter);
      fibers_.push_back(std::move(fiber));
    }
    resume(*fibers_[used_++]);
  }
}

// Jumps, once a fiber has begun: swapcontext() asks the kernel for the signal mask at every switch.
void BlockRun::resume(Fiber& fiber) {
  fiber_ = &fiber;
  active_ = fiber.thread;
  if (_setjmp(scheduler_) != 0) return;
  if (fiber.begun) _longjmp(fiber.at, 1);
  fiber.begun = true;
  setcontext(&fiber.context);
}

// A fiber's whole life: the threads that are left of a block, again and again.
void BlockRun::enter() {
  for (;;) {
    Fiber& fiber = *current_->fiber_;
    fiber.free = false;
    current_->run_threads();
    fiber.free = true;
    if (_setjmp(fiber.at) == 0) _longjmp(current_->scheduler_, 1);
  }
}

void BlockRun::run_threads() {
  while (started_ < threads_ && !failure_) {
    fiber_->thread = started_++;
    set_active(fiber_->thread);
    try {
      thread_();
    } catch (...) {
      failure_ = std::current_exception();
    }
    end_thread();
  }
}

void BlockRun::set_active(std::size_t thread) {
  active_ = thread;
  const auto t = static_cast<unsigned>(thread);
  threadIdx = {t % size_.x, t / size_.x % size_.y, t / size_.x / size_.y};
}

// One that has ended keeps nobody waiting.
void BlockRun::end_thread() {
  ++finished_;
  for (Barrier* barrier : {&block_, &warps_[active_ / 32]}) {
    --barrier->living;
    barrier->open_if_all_are_here();
  }
}

void BlockRun::wait(Barrier& barrier) {
  const std::size_t opened = barrier.opened;
  ++barrier.arrived;
  barrier.open_if_all_are_here();
  if (barrier.opened != opened) return;
  Fiber& fiber = *fiber_;
  fiber.barrier = &barrier;
  fiber.opened = opened;
  if (_setjmp(fiber.at) == 0) _longjmp(scheduler_, 1);
  set_active(fiber.thread);
}

void BlockRun::publish(const void* value, std::size_t size) {
  std::memcpy(slots_[active_].data(), value, size);
}

void BlockRun::fetch(int lane, void* value, std::size_t size) const {
  const std::size_t from = active_ / 32 * 32 + static_cast<std::size_t>(lane);
  if (from < threads_) std::memcpy(value, slots_[from].data(), size);
}

}  // namespace cuda_on_cpu
