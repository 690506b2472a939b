#include "trainer/trainer.h"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/file_system.h"
#include "core/printable.h"
#include "data/unigram.h"
#include "parallel/launch.h"
#include "trainer/agreement.h"
#include "trainer/engine.h"
#include "trainer/job.h"
#include "trainer/layout.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_history.h"
#include "trainer/run_inputs.h"
#include "trainer/run_log.h"
#include "trainer/store_check.h"

namespace baekji {
namespace {

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

// SIGINT and SIGTERM ask for a clean stop while this object lives; a second one ends the process at once.
class StopOnSignal {
 public:
  StopOnSignal() {
    stop_requested = false;
    for (std::size_t i = 0; i < 2; ++i) before_[i] = std::signal(kSignals[i], &on_signal);
  }
  ~StopOnSignal() {
    for (std::size_t i = 0; i < 2; ++i) std::signal(kSignals[i], before_[i]);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  static void on_signal(int signal) {
    if (stop_requested.exchange(true)) {
      std::signal(signal, SIG_DFL);
      std::raise(signal);
    }
  }
  static constexpr int kSignals[2] = {SIGINT, SIGTERM};
  void (*before_[2])(int) = {SIG_DFL, SIG_DFL};
};

// The FLOP/s that all ranks reach together, each at the same time as the others; 0: not measured.
double measure_ceilings(const Experiment& e, const Kernels& kernels, ThreadPool& pool, Communicator& world) {
  world.barrier();
  auto flops = static_cast<std::int64_t>(measure_ceiling(e, kernels, pool));
  world.all_reduce(Tensor(&flops, DType::kInt64, {1}), ReduceOp::kSumInteger);
  return static_cast<double>(flops);
}

std::vector<Digest> digests_of(const std::vector<std::string>& texts) {
  std::vector<Digest> digests;
  for (const std::string& text : texts) digests.push_back(parse_digest(text));
  return digests;
}

class Run {
 public:
  Run(const Experiment& e, const TrainOptions& options, Communicator& world)
      : e_(e),
        watch_(options.watch),
        ranks_(e.layout.mesh(), agreed(e, world)),
        machine_(options.machine),
        pool_(thread_count(e.layout, machine_.ranks)),
        kernels_(tied_to(world, make_kernels(e.layout, pool_, machine_))),
        ceiling_flops_(measure_ceilings(e, *kernels_, pool_, world)),
        program_bytes_(resident_bytes()),
        context_bytes_(device_bytes_taken(*kernels_, machine_)),
        folder_{e.output()},
        kernel_set_(kernel_set_of(*kernels_)),
        inputs_(open_inputs(e)),
        engine_(e, inputs_.loader, *kernels_, checked_ranks()),
        history_({.folder = folder_,
                  .contract = inputs_.contract,
                  .kernel_set = kernel_set_,
                  .seed = inputs_.seed,
                  .beacon_value = inputs_.beacon_value,
                  .layout = describe(e.layout),
                  .tensor_grains = e.numerics.tensor_grains,
                  .keep = e.run.keep,
                  .anchor_every = e.run.anchor_every,
                  .signing_key = e.run.signing_key,
                  .kernel_sets = digests_of(e.run.kernel_sets),
                  .contract_note = e.run.contract_note,
                  .save_beside_training = e.run.saves_beside_training(),
                  .files = options.checkpoint_files,
                  .accept_kernel_set = options.accept_kernel_set,
                  .rollback = options.rollback,
                  .warn = [this](const std::string& text) { early_warnings_.push_back(text); }},
                 {.held = engine_.shards(),
                  .owned = engine_.owned_shards(),
                  .root_of = [this](std::span<const StateLeaf> hashed) { return engine_.state_root(hashed); }},
                 world, pool_) {
    if (world.rank() != 0) return;
    log_ = std::make_unique<RunLog>(RunLog::Args{
        .experiment = e, .folder = folder_, .resumed_step = history_.position().step, .ceiling_flops = ceiling_flops_});
  }

  void go() {
    introduce();
    const StopOnSignal guard;
    agree();
    while (history_.position().step < e_.run.steps && !stopping_) one_step(history_.position().step + 1);
    finish();
  }

 private:
  RankGroups& checked_ranks() {
    Communicator& world = ranks_.world();
    require_same_everywhere(world, "the data", "contract " + to_hex(inputs_.digest));
    if (world.rank() == 0)
      store_check_ = check_stores(inputs_.loader.stores(), inputs_.loader.order().sources(), pool_);
    require_same_everywhere(world, "the kernel set", to_hex(kernel_set_digest(kernel_set_)));
    require_device_memory(e_, *kernels_, *planned().device, machine_);
    return ranks_;
  }

  // A signal reaches the ranks, and their shards the disk, at different moments: all ranks act on it after the same
  // step.
  void agree() {
    std::array<std::int32_t, 2> any{stop_requested ? 1 : 0, history_.writing() ? 1 : 0};
    ranks_.world().all_reduce(Tensor(any.data(), DType::kInt32, {std::ssize(any)}), ReduceOp::kMax);
    stopping_ = any[0] != 0;
    all_written_ = any[1] == 0;
  }

  void say(const std::string& text) {
    if (log_) log_->say(text);
  }

  void introduce() {
    engine_.state_changed();
    if (!log_) {
      const RankGroups& r = ranks_;
      for (const std::string& text : early_warnings_)
        fmt::print(stderr, "{}", labelled(r.mesh().rank_name(r.world().rank()), "warning: " + printable_lines(text)));
      return;
    }
    for (const std::string& text : early_warnings_) log_->warn(text);
    FileSystem& files = posix_file_system();
    files.write(folder_.experiment(), resolved_toml(e_));
    files.write(folder_.tokenizer(), inputs_.tokenizer);
    say(fmt::format("experiment {}   contract {}", e_.identity.name, to_hex(inputs_.digest).substr(0, 16)));
    say(fmt::format("model      {:.1f} M parameters, {} layers, hidden {}, vocabulary {}, {}",
                    static_cast<double>(parameter_count(e_.model)) / 1e6, e_.model.layers, e_.model.hidden,
                    e_.model.vocab, e_.numerics.precision));
    say(fmt::format("layout     {}, {} threads", e_.layout.mesh().describe(), pool_.threads()));
    say(fmt::format("run        {} -> {} steps in {}{}", history_.position().step, e_.run.steps, folder_.root.string(),
                    history_.resumed() ? " (going on)" : ""));
    say("data       " + store_check_);
    say("planned memory\n" + planned().table());
  }

  MemoryPlan planned() const {
    return memory_plan(e_, *kernels_,
                       {.program_bytes = program_bytes_,
                        .context_bytes = context_bytes_,
                        .stores = inputs_.loader.stores(),
                        .at = ranks_.coordinate()});
  }

  void one_step(std::int64_t step) {
    if (watch_) watch_->step = step;
    if (log_) warn_of_repeats(step);
    const auto start = std::chrono::steady_clock::now();
    const RunPosition before = history_.position();
    const std::int64_t batch = history_.batch_of(step);
    const StepResult result = engine_.step(step, before.updates + 1, batch);
    agree();
    const bool last = step == e_.run.steps || stopping_;
    const bool checkpoint = last || due(step, e_.run.checkpoint_every);
    history_.record(step_record(before, batch, inputs_.loader.order(), result), due(step, e_.run.root_every));
    const double step_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (log_) log_->step(step, history_.position(), result, {.step_s = step_s, .all_stalls_ms = history_.stalled_ms()});
    if (history_.saving() && all_written_) tell(history_.advance_save());
    if (due(step, e_.log.detail_every)) {
      const std::map<std::string, double> weights = engine_.weight_norms();
      if (log_) log_->norms(step, engine_.optimizer().gradient_norms(), weights);
    }
    count_void(step, result);
    if (!last && due(step, e_.run.evaluate_every)) validate(step);
    if (checkpoint) save(last);
  }

  // After the last step there is nothing to go on with: training waits, and no copy is made.
  void save(bool last) {
    finish_save();
    const bool wait = last || !e_.run.saves_beside_training();
    history_.begin_save(wait);
    if (wait) finish_save();
  }

  void finish_save() {
    if (history_.saving()) tell(history_.finish_save());
  }

  void tell(const std::optional<SavedCheckpoint>& saved) {
    if (saved && log_) log_->saved(*saved);
  }

  void count_void(std::int64_t step, const StepResult& result) {
    void_in_a_row_ = result.outcome.is_void ? void_in_a_row_ + 1 : 0;
    if (!result.outcome.is_void) return;
    if (log_)
      log_->warn(fmt::format("step {} is void: the gradient of {} is not finite or out of range; no weight was changed",
                             step, result.outcome.void_parameter));
    if (void_in_a_row_ < e_.run.max_void_steps) return;
    finish_save();
    throw Error(fmt::format("{} void steps in a row", void_in_a_row_))
        .values(fmt::format("fewer than run.max_void_steps = {}", e_.run.max_void_steps),
                fmt::format("step {}, tensor {}", step, result.outcome.void_parameter))
        .at(folder_.root.string())
        .hint("the last checkpoint stands; lower the learning rate, or look at the data of these steps");
  }

  void warn_of_repeats(std::int64_t step) {
    const BatchOrder& order = inputs_.loader.order();
    for (std::size_t i = 0; i < order.sources().size(); ++i) {
      const int source = static_cast<int>(i);
      const std::int64_t pass = order.highest_pass(history_.batch_of(step), source);
      if (pass > order.highest_pass(history_.batch_of(step - 1), source)) {
        log_->warn(
            fmt::format("step {}: source {} begins pass {} (it repeats)", step, order.sources()[i].name, pass + 1));
      }
    }
  }

  std::vector<SourceLoss> validate(std::int64_t step) {
    std::vector<SourceLoss> losses;
    const std::int64_t batch = history_.batch_of(step);
    for (std::size_t i = 0; i < inputs_.loader.stores().size(); ++i) {
      const int source = static_cast<int>(i);
      const std::int64_t sequences =
          std::min(e_.run.evaluate_sequences, inputs_.loader.validation_sequences(source, e_.stage(batch).context));
      if (sequences < 1) continue;
      losses.push_back({.source = inputs_.loader.order().sources()[i].name,
                        .loss = engine_.evaluate(batch, source, sequences),
                        .sequences = sequences});
    }
    if (log_) log_->validation(step, losses);
    return losses;
  }

  void finish() {
    const std::int64_t step = history_.position().step;
    finish_save();
    if (!history_.saved()) save(true);
    history_.end();
    if (stopping_) {
      say(fmt::format("stopped at step {} by a signal; start the same command again to go on", step));
      return;
    }
    RunLog::Summary summary{.position = history_.position(), .validation = validate(step)};
    summary.all_stalls_ms = history_.stalled_ms();
    summary.state_root = to_hex(history_.root());
    summary.memory = gather_memory(
        ranks_,
        {.planned_bytes = planned().device->total_bytes(),
         .peak_bytes = kernels_->device().is_host() ? peak_resident_bytes() : device_bytes_taken(*kernels_, machine_)});
    if (!log_) return;
    for (std::size_t i = 0; i < inputs_.loader.stores().size(); ++i) {
      summary.unigram_entropy[inputs_.loader.order().sources()[i].name] = unigram_entropy(inputs_.loader.stores()[i]);
    }
    summary.checkpoint = CheckpointStore(folder_.checkpoints()).path_of(step).string();
    log_->finish(summary);
  }

  static bool due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

  const Experiment& e_;
  std::shared_ptr<CommunicatorWatch> watch_;
  RankGroups ranks_;
  MachineShare machine_;
  ThreadPool pool_;
  std::unique_ptr<Kernels> kernels_;
  double ceiling_flops_;  ///< measured first: what the library keeps of it belongs to the program
  std::int64_t program_bytes_;
  std::int64_t context_bytes_;
  RunFolder folder_;
  KernelSet kernel_set_;
  RunInputs inputs_;
  std::string store_check_;  // rank 0: what was read of the stores
  Engine engine_;
  std::vector<std::string> early_warnings_;
  RunHistory history_;
  std::unique_ptr<RunLog> log_;  // rank 0
  bool stopping_ = false;
  bool all_written_ = true;  ///< no rank's writer is at work
  std::int64_t void_in_a_row_ = 0;
};

}  // namespace

void train(const Experiment& experiment, const TrainOptions& options, Communicator& world) {
  Run run(experiment, options, world);
  try {
    run.go();
  } catch (const std::exception& error) {
    if (options.failed) options.failed(error.what());
    throw;
  }
}

}  // namespace baekji
