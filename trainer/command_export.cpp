#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "trainer/commands.h"
#include "trainer/model_export.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

struct ExportArguments {
  std::string run;
  std::string output;
  std::optional<std::int64_t> step;
  std::string type;
  std::int64_t shard_bytes = ModelExport::Options().shard_bytes;
};

void write_export(const ExportArguments& a) {
  ModelExport::Options options{.step = a.step, .shard_bytes = a.shard_bytes};
  if (!a.type.empty()) options.type = a.type == "bf16" ? DType::kBfloat16 : DType::kFloat32;
  OutputFolder output(a.output);
  ThreadPool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  ModelExport model(open_run_folder(a.run), options, pool);
  model.produce([&](const std::string& name, const std::function<void(const ByteSink&)>& produce) {
    output.write(name, produce);
  });
  output.commit();
  fmt::print("exported step {} to {}: {} form, {} bytes of {} weights, state root {}\n", model.info().step, a.output,
             model.form(), model.weight_bytes(), name_of(model.type()), to_hex(model.info().state_root));
}

}  // namespace

void add_export_command(CLI::App& app) {
  auto a = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand("export", "a run's weights as Hugging Face safetensors");
  command->add_option("run", a->run, "run folder")->required();
  command->add_option("--output", a->output, "new folder for the files")->required();
  command->add_option("--step", a->step, "which checkpoint; without it the newest good one");
  command->add_option("--dtype", a->type, "type of the weights; without it what the run computes with")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--shard-bytes", a->shard_bytes, "most weights in one file")->capture_default_str();
  command->callback([a] { write_export(*a); });
}

}  // namespace baekji
