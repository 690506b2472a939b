#include "trainer/dry_run.h"

#include "core/file_system.h"
#include "core/thread_pool.h"
#include "parallel/schedule_text.h"
#include "parallel/timeline.h"
#include "trainer/engine.h"
#include "trainer/layout.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"
#include "trainer/rehearsal.h"
#include "trainer/run_log.h"

namespace baekji {
namespace {

std::string schedule_name(const LayoutConfig& layout) {
  return layout.schedule_file.empty() ? layout.schedule : layout.schedule_file;
}

std::string describe(const StageRange& range) {
  std::string text = fmt::format("layers {} to {}", range.first_layer, range.first_layer + range.layers - 1);
  if (range.embedding) text = "embedding, " + text;
  return range.head ? text + ", head" : text;
}

std::string describe_pipeline(const Experiment& e, const Schedule& schedule) {
  if (schedule.ranks() == 1) return {};
  std::string text;
  const std::vector<StageRange> ranges = stage_ranges(e);
  for (std::int64_t stage = 0; stage < schedule.stages(); ++stage) {
    text += fmt::format("stage {:<4} on pipeline rank {}: {}\n", stage, stage % schedule.ranks(),
                        describe(ranges[static_cast<std::size_t>(stage)]));
  }
  const Simulation simulation = simulate(schedule, pass_costs(e, e.stages.front()));
  text += fmt::format("schedule   {}, {} micro-batches, bubble {:.1f}%, live micro-batches by rank: {}\n",
                      schedule_name(e.layout), schedule.micro_batches, 100 * simulation.bubble(),
                      fmt::join(simulation.peak_live, ", "));
  return text;
}

std::string planned_memory(const Experiment& e) {
  ThreadPool pool(thread_count(e.layout, 1));
  const std::unique_ptr<Kernels> kernels = make_planning_kernels(e.layout, pool);
  std::string text;
  for (std::int64_t p = 0; p < e.layout.pipeline; ++p) {
    text += e.layout.pipeline == 1 ? "planned memory of each rank\n"
                                   : fmt::format("planned memory of each rank at pipeline {}\n", p);
    text += memory_plan(e, *kernels, {.program_bytes = resident_bytes(), .at = {.pipeline = p}}).table();
  }
  return text;
}

}  // namespace

std::string dry_run(const Experiment& e, const DryRunOptions& options) {
  const Mesh mesh = e.layout.mesh();
  std::string text = fmt::format("mesh       {}\n", mesh.describe());
  text += fmt::format("model      {} parameters, {:.4g} FLOPs per token\n", parameter_count(e.model),
                      flops_per_token(e.model, e.model.context));
  for (const TrainingStage& stage : e.stages) {
    text += fmt::format("from step {}: context {}, global batch {} in {} micro-batches, {} tokens per step\n",
                        stage.from_step, stage.context, stage.global_batch, stage.global_batch / stage.micro_batch,
                        stage.global_batch * stage.context);
  }
  const Schedule schedule = schedule_of(e, e.stages.front());
  text += describe_pipeline(e, schedule);
  text += options.ranks > 0 ? rehearse(e, options.ranks, resident_bytes()).describe(mesh) : planned_memory(e);
  FileSystem& files = posix_file_system();
  if (!options.schedule.empty()) files.write(options.schedule, to_text(schedule));
  if (!options.timeline.empty()) {
    const Simulation simulation = simulate(schedule, pass_costs(e, e.stages.front()));
    files.write(
        options.timeline,
        timeline_svg(schedule, simulation,
                     {.title = fmt::format("{}: {}", e.identity.name, schedule_name(e.layout)), .time_unit = "TFLOP"}));
  }
  return text;
}

}  // namespace baekji
