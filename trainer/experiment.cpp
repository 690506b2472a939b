#include "trainer/experiment.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "model/linear.h"
#include "parallel/grains.h"
#include "parallel/rank_groups.h"
#include "parallel/rendezvous.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "trainer/layout.h"

namespace baekji {
namespace {

using nlohmann::json;

const json& table_of(const json& file, const char* name) {
  static const json kEmpty = json::object();
  const auto it = file.find(name);
  if (it == file.end()) return kEmpty;
  if (!it->is_object())
    throw Error(fmt::format("{} must be a table", name)).values(fmt::format("[{}]", name), it->dump());
  return *it;
}

const json& list_of(const json& table, const char* name, const std::string& place) {
  static const json kEmpty = json::array();
  const auto it = table.find(name);
  if (it == table.end()) return kEmpty;
  if (!it->is_array())
    throw Error(fmt::format("{} must be a list of tables", name))
        .values(fmt::format("[[{}]]", name), it->dump())
        .at(place);
  return *it;
}

// Far above what anybody trains, and low enough that no product of two overflows and no list of one exhausts memory.
void require_figures(const Experiment& e) {
  const auto require = [&](const char* key, std::int64_t value, std::int64_t most) {
    if (value > most)
      throw Error(fmt::format("{} is larger than anything that can be trained", key))
          .values(fmt::format("at most {}", most), fmt::format("{}", value))
          .at(e.place);
  };
  constexpr std::int64_t kMillion = std::int64_t{1} << 20;
  require("layers", e.model.layers, 1 << 16);
  require("hidden", e.model.hidden, kMillion);
  require("heads", e.model.heads, 1 << 16);
  require("kv_heads", e.model.kv_heads, 1 << 16);
  require("head_dim", e.model.head_dim, 1 << 16);
  require("ffn", e.model.ffn, 16 * kMillion);
  require("vocab", e.model.vocab, 16 * kMillion);
  require("context", e.model.context, 16 * kMillion);
  require("global_batch", e.numerics.global_batch, kMillion);
  require("micro_batch", e.numerics.micro_batch, kMillion);
  require("replicas", e.numerics.replicas, kMillion);
  require("tensor_grains", e.numerics.tensor_grains, 1 << 16);
  require("beacon_round", e.identity.beacon_round, kMillion * kMillion);
  // In floating point: what it guards is the integer arithmetic of parameter_count().
  const auto hidden = static_cast<double>(e.model.hidden);
  const auto width =
      static_cast<double>(std::max(e.model.head_dim, e.model.heads > 0 ? e.model.hidden / e.model.heads : 0));
  const double layer = hidden * width * 2 * static_cast<double>(e.model.heads + e.model.kv_heads) +
                       3 * hidden * static_cast<double>(e.model.ffn);
  if (layer * static_cast<double>(e.model.layers) > 1e15)
    throw Error("the model is larger than anything that can be trained")
        .values("at most 1e15 parameters", fmt::format("{:.3g}", layer * static_cast<double>(e.model.layers)))
        .at(e.place);
}

void require_figures(const TrainingStage& stage, const std::string& place) {
  Experiment e;
  e.place = place;
  e.model.context = stage.context;
  e.numerics.global_batch = stage.global_batch;
  e.numerics.micro_batch = stage.micro_batch;
  require_figures(e);
}

void refuse_unsupported(const Experiment& e) {
  const LayoutConfig& l = e.layout;
  const std::string place = e.place + " [layout]";
  const auto refuse = [&](bool wrong, const std::string& have, const std::string& came) {
    if (wrong) throw Error("this build does not have that layout feature").values(have, came).at(place);
  };
  refuse(l.zero < 0 || l.zero > 3, "zero = 0, 1, 2 or 3", fmt::format("zero = {}", l.zero));
  refuse(l.zero == 3 && l.pipeline > 1, "zero = 3 with pipeline = 1", fmt::format("pipeline = {}", l.pipeline));
  refuse(l.threads < 0, "threads >= 0", fmt::format("threads = {}", l.threads));
  refuse(l.communicator == "nccl" && l.device != "cuda", "communicator = \"nccl\" with device = \"cuda\"",
         fmt::format("device = \"{}\"", l.device));
  if (l.meets_by_mpi()) return;
  check_rendezvous(l.rendezvous, place + " rendezvous");
  refuse(l.communicator == "mpi" || l.device != "cuda",
         "a rendezvous without MPI with communicator = \"nccl\" and device = \"cuda\"",
         fmt::format("communicator = \"{}\", device = \"{}\"", l.communicator, l.device));
}

// What a mesh needs of the experiment's numbers; how many ranks there are is known only once they have been started.
void validate_mesh(const Experiment& e, const std::string& place) {
  const Mesh mesh = e.layout.mesh();
  validate(mesh, mesh.size(), place);
  (void)GrainMap(e.numerics.tensor_grains, mesh.tensor, 0);
  (void)replicas_of(e.numerics.replicas, mesh, {});
  (void)stage_ranges(e);
  for (const TrainingStage& stage : e.stages) (void)schedule_of(e, stage);
}

void validate_run(const RunConfig& r, const LogConfig& log, const std::string& place) {
  const auto require = [&](bool ok, const char* rule, std::int64_t came) {
    if (!ok) throw Error("the run cannot go like this").values(rule, fmt::format("{}", came)).at(place);
  };
  require(r.steps >= 1, "steps >= 1", r.steps);
  require(r.checkpoint_every >= 0, "checkpoint_every >= 0", r.checkpoint_every);
  require(r.keep >= 1, "keep >= 1", r.keep);
  require(r.anchor_every >= 0, "anchor_every >= 0", r.anchor_every);
  require(r.root_every >= 0, "root_every >= 0", r.root_every);
  require(r.evaluate_every >= 0, "evaluate_every >= 0", r.evaluate_every);
  require(r.evaluate_sequences >= 1, "evaluate_sequences >= 1", r.evaluate_sequences);
  require(r.max_void_steps >= 1, "max_void_steps >= 1", r.max_void_steps);
  require(r.collective_limit_s >= 1, "collective_limit_s >= 1", r.collective_limit_s);
  try {
    for (const std::string& digest : r.kernel_sets) (void)parse_digest(digest);
  } catch (Error& error) {
    throw error.at(place + " kernel_sets");
  }
  require(log.every >= 1, "log.every >= 1", log.every);
  require(log.detail_every >= 0, "log.detail_every >= 0", log.detail_every);
}

void validate_products(const Experiment& e) {
  if (!element_types(e.numerics).float8_linear) return;
  for (const TrainingStage& stage : e.stages) {
    validate_float8(e.model, e.numerics.tensor_grains, stage.micro_batch * stage.context,
                    fmt::format("{}, stage from step {}", e.place, stage.from_step));
  }
}

void validate_seed(const Experiment& e, const std::string& place) {
  const IdentityConfig& id = e.identity;
  if (id.seed < 0) throw Error("the seed must not be negative").values(">= 0", fmt::format("{}", id.seed)).at(place);
  if (id.beacon.empty() != (id.beacon_round == 0) || id.beacon_round < 0 || (!id.beacon.empty() && id.seed != 0)) {
    throw Error("an experiment has a seed, or a beacon and its round")
        .values("seed, or beacon with beacon_round >= 1",
                fmt::format("seed {}, beacon \"{}\", round {}", id.seed, id.beacon, id.beacon_round))
        .at(place);
  }
  if (id.max_skipped_batches < IdentityConfig::kAnySkippedBatches)
    throw Error("rollbacks cannot leave out fewer than no batches")
        .values("max_skipped_batches >= 0, or -1 for no limit", fmt::format("{}", id.max_skipped_batches))
        .at(place);
  if (!id.beacon.empty()) (void)beacon_time_s(id.beacon, id.beacon_round);
  if (e.run.beacon_value.empty()) return;
  if (id.beacon.empty())
    throw Error("a beacon's value without a beacon").values("experiment.beacon", "none").at(e.place + " [run]");
  const std::string value_place = e.place + " [run] beacon_value";
  try {
    const auto bytes = static_cast<std::int64_t>(hex_to_bytes(e.run.beacon_value).size());
    require_equal(beacon_value_bytes(id.beacon), bytes, "a round of that beacon has a value of another length (bytes)",
                  value_place);
  } catch (Error& error) {
    throw error.at(value_place);
  }
}

void read_sources(const json& data, Experiment& e) {
  const std::string place = e.place + " [data]";
  ConfigReader reader(data, place);
  reader.field("tokenizer", e.data.tokenizer, "path of the tokenizer model");
  reader.finish({"source"});
  for (const json& table : list_of(data, "source", place)) {
    SourceConfig source;
    read_config(table, source, fmt::format("{} [[data.source]] {}", e.place, e.data.sources.size() + 1));
    if (source.name.empty() || source.path.empty()) {
      throw Error("a source needs a name and a path").values("name and path", table.dump()).at(place);
    }
    e.data.sources.push_back(std::move(source));
  }
  if (e.data.tokenizer.empty())
    throw Error("data.tokenizer is missing").values("a tokenizer model", "nothing").at(place);
  if (e.data.sources.empty()) throw Error("there is no [[data.source]]").values("at least one", "none").at(place);
}

void read_stages(const json& file, Experiment& e) {
  TrainingStage base{.from_step = 1,
                     .context = e.model.context,
                     .rope_theta = e.model.rope_theta,
                     .global_batch = e.numerics.global_batch,
                     .micro_batch = e.numerics.micro_batch};
  for (const SourceConfig& source : e.data.sources) base.weights.push_back(source.weight);
  e.stages.push_back(base);
  constexpr std::size_t kMostStages = 1000;
  const json& list = list_of(file, "stage", e.place);
  if (list.size() > kMostStages)
    throw Error("too many stages")
        .values(fmt::format("at most {}", kMostStages), fmt::format("{}", list.size()))
        .at(e.place);
  for (const json& table : list) {
    TrainingStage stage = e.stages.back();
    const std::string place = fmt::format("{} [[stage]] {}", e.place, e.stages.size());
    stage.from_step = 0;
    read_config(table, stage, place);
    require_figures(stage, place);
    if (stage.from_step <= e.stages.back().from_step) {
      throw Error("stages must follow one another")
          .values(fmt::format("from_step > {}", e.stages.back().from_step), fmt::format("{}", stage.from_step))
          .at(place);
    }
    require_equal(e.data.sources.size(), stage.weights.size(), "a stage needs one weight per source", place);
    e.stages.push_back(std::move(stage));
  }
  // Each stage has a schedule, made when the experiment is read: all of them together stay small.
  constexpr std::int64_t kMostMicroBatches = std::int64_t{1} << 22;
  std::int64_t micro_batches = 0;
  for (const TrainingStage& stage : e.stages) {
    micro_batches += stage.micro_batch < 1 ? 0 : stage.global_batch / stage.micro_batch;
    if (micro_batches > kMostMicroBatches)
      throw Error("the stages have too many micro-batches")
          .values(fmt::format("at most {} a step, all stages together", kMostMicroBatches), "more")
          .at(e.place);
    NumericsConfig numerics = e.numerics;
    numerics.global_batch = stage.global_batch;
    numerics.micro_batch = stage.micro_batch;
    validate(numerics, stage.context, fmt::format("{}, stage from step {}", e.place, stage.from_step));
    if (stage.rope_theta <= 1) {
      throw Error("rope_theta is out of range").values("> 1", fmt::format("{}", stage.rope_theta)).at(e.place);
    }
  }
}

// Writes each field as "key = default  # meaning".
class ReferenceWriter {
 public:
  template <class T>
  void field(const char* key, const T& value, const char* help) {
    line(key, json(value), help);
  }
  template <class T>
  void newer(const char* key, const T& value, const T& /*neutral*/, const char* help) {
    field(key, value, help);
  }
  void choice(const char* key, const std::string& value, std::initializer_list<const char*> words, const char* help) {
    line(key, json(value), fmt::format("{} ({})", help, fmt::join(words, ", ")));
  }
  template <class Config>
  void section(const char* header, Config config) {
    text_ += fmt::format("\n{}\n", header);
    config.visit(*this);
  }
  std::string take() { return std::move(text_); }

 private:
  void line(const char* key, const json& value, const std::string& help) {
    text_ += fmt::format("{:<46} # {}\n", fmt::format("{} = {}", key, value.dump()), help);
  }
  std::string text_ = "# Every key of an experiment file, with its default. Printed by `baekji keys`.\n";
};

template <class Config>
json contract_table(const Config& config) {
  return write_config(config, ConfigWriter(ConfigWriter::ForContract{}));
}

// Floating-point numbers enter the contract as text, so that its bytes depend on no JSON library.
json canonical(json value) {
  if (value.is_number_float()) return contract_number(value.get<double>());
  if (value.is_structured()) {
    for (json& child : value) child = canonical(child);
  }
  return value;
}

}  // namespace

const TrainingStage& Experiment::stage(std::int64_t step) const {
  const auto after =
      std::find_if(stages.begin() + 1, stages.end(), [&](const TrainingStage& s) { return s.from_step > step; });
  return *(after - 1);
}

std::filesystem::path Experiment::output() const {
  return run.output.empty() ? std::filesystem::path("runs") / identity.name : std::filesystem::path(run.output);
}

Experiment load_experiment(const std::filesystem::path& path, std::span<const std::string> overrides) {
  return read_experiment(load_config(path, overrides), path.string());
}

Experiment read_experiment(const json& file, const std::string& place) {
  Experiment e;
  e.place = place;
  const auto section = [&](const char* name) { return e.place + " [" + name + "]"; };
  ConfigReader(file, e.place)
      .finish({"experiment", "model", "data", "optimizer", "numerics", "layout", "run", "log", "stage"});
  read_config(table_of(file, "experiment"), e.identity, section("experiment"));
  read_config(table_of(file, "model"), e.model, section("model"));
  read_sources(table_of(file, "data"), e);
  read_config(table_of(file, "optimizer"), e.optimizer, section("optimizer"));
  read_config(table_of(file, "numerics"), e.numerics, section("numerics"));
  read_config(table_of(file, "layout"), e.layout, section("layout"));
  read_config(table_of(file, "run"), e.run, section("run"));
  read_config(table_of(file, "log"), e.log, section("log"));
  require_figures(e);
  validate_seed(e, section("experiment"));
  read_stages(file, e);
  validate(e.model, e.numerics.tensor_grains, section("model"));
  validate_products(e);
  validate(e.optimizer, section("optimizer"));
  validate_run(e.run, e.log, section("run"));
  refuse_unsupported(e);
  validate_mesh(e, section("layout"));
  return e;
}

std::string resolved_toml(const Experiment& e) {
  json file = {{"experiment", write_config(e.identity)},
               {"model", write_config(e.model)},
               {"optimizer", write_config(e.optimizer)},
               {"numerics", write_config(e.numerics)},
               {"layout", write_config(e.layout)},
               {"run", write_config(e.run)},
               {"log", write_config(e.log)},
               {"data", {{"tokenizer", e.data.tokenizer}}}};
  for (const SourceConfig& source : e.data.sources) file["data"]["source"].push_back(write_config(source));
  for (std::size_t i = 1; i < e.stages.size(); ++i) file["stage"].push_back(write_config(e.stages[i]));
  return to_toml(file);
}

std::string reference_toml() {
  ReferenceWriter writer;
  writer.section("[experiment]", IdentityConfig{});
  writer.section("[model]", ModelConfig{});
  writer.section("[numerics]", NumericsConfig{});
  writer.section("[optimizer]", OptimizerConfig{});
  writer.section("[layout]", LayoutConfig{});
  writer.section("[run]", RunConfig{});
  writer.section("[log]", LogConfig{});
  writer.section("[data]\ntokenizer = \"tokenizer.model\"\n\n[[data.source]]  # one table per source",
                 SourceConfig{.name = "text", .path = "text.h5"});
  writer.section("# A [[stage]] changes these from a step on; what it leaves out stays as it was.\n[[stage]]",
                 TrainingStage{.from_step = 1000,
                               .context = 256,
                               .rope_theta = 10000.0,
                               .global_batch = 32,
                               .micro_batch = 4,
                               .weights = {1.0}});
  return writer.take();
}

std::vector<OrderStage> order_stages(const Experiment& e) {
  std::vector<OrderStage> stages;
  for (const TrainingStage& s : e.stages) {
    stages.push_back(
        {.from_step = s.from_step, .weights = s.weights, .context = s.context, .global_batch = s.global_batch});
  }
  return stages;
}

json contract_formats() {
  return {{"batch_order", 2}, {"checkpoint", 1}, {"genesis", 1}, {"ledger", 2}, {"state_root", 1}, {"token_store", 1}};
}

json contract_of(const Experiment& e, const Digest& tokenizer_digest, std::span<const TokenStore> stores) {
  json contract = {{"format", kContractFormat},
                   {"formats", contract_formats()},
                   {"model", contract_table(e.model)},
                   {"optimizer", contract_table(e.optimizer)},
                   {"numerics", contract_table(e.numerics)},
                   {"tokenizer", to_hex(tokenizer_digest)},
                   {"sources", json::array()},
                   {"stages", json::array()}};
  if (e.identity.beacon.empty())
    contract["seed"] = e.identity.seed;
  else
    contract["beacon"] = {{"name", e.identity.beacon}, {"round", e.identity.beacon_round}};
  if (e.identity.max_skipped_batches != IdentityConfig::kAnySkippedBatches)
    contract["max_skipped_batches"] = e.identity.max_skipped_batches;
  for (std::size_t i = 0; i < stores.size(); ++i) {
    const SourceConfig& source = e.data.sources[i];
    contract["sources"].push_back(
        {{"name", source.name}, {"weight", source.weight}, {"data_root", to_hex(stores[i].data_root())}});
  }
  for (const TrainingStage& stage : e.stages) contract["stages"].push_back(contract_table(stage));
  return canonical(std::move(contract));
}

}  // namespace baekji
