#include "trainer/run_log.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/file_system.h"
#include "core/printable.h"
#include "trainer/loss_curve.h"
#include "trainer/metrics.h"
#include "trainer/progress.h"
#include "trainer/tensorboard.h"

namespace baekji {

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total_pages = 0;
  std::int64_t resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

struct RunLog::State {
  explicit State(const Args& args)
      : experiment(args.experiment),
        folder(args.folder),
        ceiling_flops(args.ceiling_flops),
        metrics({.files = posix_file_system(), .folder = args.folder.root, .resumed_step = args.resumed_step}),
        printer({.out = std::cout, .terminal = stdout_is_terminal(), .columns = terminal_columns()}) {
    if (args.experiment.log.tensorboard) {
      tensorboard = std::make_unique<TensorBoardWriter>(TensorBoardWriter::Args{
          .files = posix_file_system(), .folder = args.folder.tensorboard(), .resumed_step = args.resumed_step});
    }
  }

  void scalars(std::int64_t step, const std::map<std::string, double>& values) {
    if (tensorboard) tensorboard->scalars(step, values);
  }

  /// The share of the ceiling; not a number when there is none.
  double share(double work, double time_s) const {
    return ceiling_flops > 0 ? work / time_s / ceiling_flops : std::numeric_limits<double>::quiet_NaN();
  }

  const Experiment& experiment;
  RunFolder folder;
  double ceiling_flops;
  MetricsWriter metrics;
  ProgressPrinter printer;
  RateMeter rate;
  std::unique_ptr<TensorBoardWriter> tensorboard;
  double seconds = 0;       // of the steps of this process
  std::int64_t tokens = 0;  // trained by this process
  double flops = 0;         // of those tokens
  double stalls_ms = 0;     // up to the last step's line
  std::int64_t saves = 0;   // of this process
  double last_save_ms = 0;  // how long it took where nothing went on beside it
};

RunLog::RunLog(const Args& args) : state_(std::make_unique<State>(args)) {}
RunLog::~RunLog() = default;

void RunLog::step(std::int64_t step, const RunPosition& position, const StepResult& result, const StepTimes& times) {
  State& s = *state_;
  const double step_s = times.step_s;
  const double flops =
      flops_per_token(s.experiment.model, s.experiment.stage(step).context) * static_cast<double>(result.tokens);
  s.seconds += step_s;
  s.tokens += result.tokens;
  s.flops += flops;
  s.rate.add(step_s, result.tokens);
  const StepMetrics metrics{.step = step,
                            .tokens = position.tokens,
                            .loss = result.loss,
                            .grad_norm = result.outcome.gradient_norm,
                            .learning_rate = result.learning_rate,
                            .step_s = step_s,
                            .tokens_per_s = static_cast<double>(result.tokens) / step_s,
                            .mfu = s.share(flops, step_s),
                            .memory_bytes = resident_bytes(),
                            .save_stall_ms = times.all_stalls_ms - s.stalls_ms};
  s.stalls_ms = times.all_stalls_ms;
  s.metrics.step(metrics);
  s.scalars(step, {{"train/loss", metrics.loss},
                   {"train/grad_norm", metrics.grad_norm},
                   {"train/learning_rate", metrics.learning_rate},
                   {"speed/tokens_per_s", metrics.tokens_per_s},
                   {"speed/mfu", metrics.mfu}});
  const std::int64_t steps = s.experiment.run.steps;
  if (step % s.experiment.log.every != 0 && step != steps && step != 1) return;
  s.printer.show(format_progress({.step = step,
                                  .steps = steps,
                                  .loss = metrics.loss,
                                  .grad_norm = metrics.grad_norm,
                                  .learning_rate = metrics.learning_rate,
                                  .tokens_per_s = s.rate.tokens_per_s(),
                                  .mfu = s.share(s.flops, s.seconds),
                                  .memory_bytes = metrics.memory_bytes,
                                  .eta_s = s.rate.eta_s(steps - step)}));
}

void RunLog::norms(std::int64_t step, const std::map<std::string, double>& gradient,
                   const std::map<std::string, double>& weight) {
  state_->metrics.norms(step, gradient, weight);
  std::map<std::string, double> values;
  for (const auto& [name, norm] : gradient) values["gradient_norm/" + name] = norm;
  for (const auto& [name, norm] : weight) values["weight_norm/" + name] = norm;
  state_->scalars(step, values);
}

void RunLog::validation(std::int64_t step, const std::vector<SourceLoss>& losses) {
  std::map<std::string, double> by_source;
  std::map<std::string, double> values;
  std::string text = fmt::format("validation at step {}:", step);
  for (const SourceLoss& source : losses) {
    by_source[source.source] = source.loss;
    values["validation/" + source.source] = source.loss;
    text += fmt::format("  {} {:.4f}", source.source, source.loss);
  }
  if (losses.empty()) return;
  state_->metrics.validation(step, by_source);
  state_->scalars(step, values);
  say(text);
}

void RunLog::saved(const SavedCheckpoint& checkpoint) {
  state_->saves += 1;
  state_->last_save_ms = checkpoint.stalled_ms;
  say(fmt::format("saved      {} (stalled {:.0f} ms, written in {:.0f} ms)", checkpoint.path.string(),
                  checkpoint.stalled_ms, checkpoint.written_ms));
}

void RunLog::say(const std::string& text) {
  state_->printer.say(text);
}
void RunLog::warn(const std::string& text) {
  state_->printer.say("warning: " + printable_lines(text));
}

void RunLog::finish(const Summary& summary) {
  State& s = *state_;
  FileSystem& files = posix_file_system();
  LossCurve curve = read_loss_curve(files, s.folder.root);
  curve.title = s.experiment.identity.name;
  curve.unigram_entropy = summary.unigram_entropy;
  files.write(s.folder.loss_curve(), loss_curve_svg(curve));

  nlohmann::ordered_json json = {{"steps", summary.position.step},
                                 {"tokens", summary.position.tokens},
                                 {"state_root", summary.state_root},
                                 {"loss_curve", s.folder.loss_curve().string()},
                                 {"checkpoint", summary.checkpoint},
                                 {"peak_memory_bytes", peak_resident_bytes()},
                                 {"validation", nlohmann::ordered_json::array()}};
  if (s.tokens > 0) {  // a complete run that is started again has trained nothing: the old rates stay unknown, not zero
    json["seconds"] = s.seconds;
    json["tokens_per_s"] = static_cast<double>(s.tokens) / s.seconds;
    // The save after the last step kept no step waiting.
    const double stall_ms = std::max(0.0, summary.all_stalls_ms - s.last_save_ms);
    json["saves"] = s.saves;
    json["save_stall_ms"] = stall_ms;
    json["save_stall_share"] = stall_ms / (1e3 * s.seconds + stall_ms);
    json["last_save_ms"] = s.last_save_ms;
    if (s.ceiling_flops > 0) {
      json["matmul_ceiling_flops"] = s.ceiling_flops;
      json["mfu"] = s.share(s.flops, s.seconds);
    }
  }
  for (const SourceLoss& source : summary.validation) {
    const auto entropy = summary.unigram_entropy.find(source.source);
    const double unigram = entropy == summary.unigram_entropy.end() ? 0.0 : entropy->second;
    json["validation"].push_back({{"source", source.source},
                                  {"loss", source.loss},
                                  {"unigram_entropy", unigram},
                                  {"sequences", source.sequences}});
    say(fmt::format("{:<10} validation loss {:.4f} nats per token; unigram entropy {:.4f}; {:.4f} below it",
                    source.source, source.loss, unigram, unigram - source.loss));
  }
  for (const RankMemory& rank : summary.memory) {
    json["memory"].push_back({{"pipeline", rank.at.pipeline},
                              {"data", rank.at.data},
                              {"tensor", rank.at.tensor},
                              {"planned_bytes", rank.planned_bytes},
                              {"peak_bytes", rank.peak_bytes}});
  }
  say(memory_line(summary.memory));
  files.write(s.folder.summary(), json.dump(1) + "\n");
  say("state root " + summary.state_root);
  say("loss curve " + s.folder.loss_curve().string());
  say("checkpoint " + summary.checkpoint);
}

}  // namespace baekji
