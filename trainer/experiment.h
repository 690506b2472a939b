#pragma once
// Experiment: one experiment file, read, checked and resolved; and the contract that it makes.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/digest.h"
#include "data/batch_order.h"
#include "data/data_config.h"
#include "data/token_store.h"
#include "model/model_config.h"
#include "parallel/mesh.h"
#include "parallel/numerics.h"
#include "parallel/optimizer_config.h"

namespace baekji {

/// [experiment]
struct IdentityConfig {
  std::string name = "unnamed";
  std::string consortium;
  std::int64_t seed = 0;
  std::string beacon;
  std::int64_t beacon_round = 0;
  std::int64_t max_skipped_batches = kAnySkippedBatches;

  /// Neutral: rollbacks may leave out as many batches as they like.
  static constexpr std::int64_t kAnySkippedBatches = -1;

  template <class V>
  void visit(V& v) {
    v.field("name", name, "name of the experiment");
    v.field("consortium", consortium, "who runs it");
    v.field("seed", seed, "keys step 0 and the batch order");
    v.field("beacon", beacon,
            "instead of a seed: a public beacon (drand-quicknet, drand-default) that it will come from");
    v.field("beacon_round", beacon_round, "the round of the beacon; its value goes into run.beacon_value");
    v.newer("max_skipped_batches", max_skipped_batches, kAnySkippedBatches,
            "most batches that rollbacks may leave out, together, for ever; -1: no limit");
  }
};

/// [layout]: which rank does the work, and with what. Decides no bit.
struct LayoutConfig {
  std::string device = "cpu";
  std::string communicator = "auto";
  std::string rendezvous = "mpi";
  std::int64_t data = 1;
  std::int64_t tensor = 1;
  std::int64_t pipeline = 1;
  std::int64_t virtual_stages = 1;
  std::string schedule = "1f1b";
  std::string schedule_file;
  std::vector<std::int64_t> layers_per_stage;
  std::int64_t zero = 0;
  std::string recompute = "none";
  std::int64_t threads = 0;

  template <class V>
  void visit(V& v) {
    v.choice("device", device, {"cpu", "cuda"}, "where the kernels run");
    v.choice("communicator", communicator, {"auto", "mpi", "nccl"},
             "what ranks talk over; auto: nccl where each rank has a GPU of its own, else mpi");
    v.field("rendezvous", rendezvous,
            "how ranks find each other: mpi, or for nccl also file:PATH or tcp:HOST:PORT of rank 0");
    v.field("data", data, "data-parallel degree");
    v.field("tensor", tensor, "tensor-parallel degree");
    v.field("pipeline", pipeline, "pipeline degree");
    v.field("virtual_stages", virtual_stages, "stages per pipeline rank");
    v.choice("schedule", schedule, {"1f1b", "interleaved", "zb-h1"}, "order of forward and backward passes");
    v.field("schedule_file", schedule_file, "a schedule as text, in place of a named one (docs/formats/schedule.md)");
    v.field("layers_per_stage", layers_per_stage,
            "blocks of each of the pipeline x virtual_stages stages; empty: balanced by cost");
    v.field("zero", zero,
            "what data ranks divide: 0 nothing, 1 optimizer state, 2 also gradient sums, 3 also weights of layers");
    v.choice("recompute", recompute, {"none", "selective", "full"}, "activations computed again in the backward pass");
    v.field("threads", threads, "threads of each rank; 0 means all cores of this machine shared among its ranks");
  }
  bool meets_by_mpi() const { return rendezvous == "mpi"; }
  Mesh mesh() const { return {.pipeline = pipeline, .data = data, .tensor = tensor}; }
};

/// [run]
struct RunConfig {
  std::int64_t steps = 100;
  std::string output;
  std::string beacon_value;
  std::int64_t checkpoint_every = 100;
  bool async_save = true;
  std::int64_t keep = 2;
  std::int64_t anchor_every = 0;
  std::int64_t root_every = 0;
  std::int64_t evaluate_every = 100;
  std::int64_t evaluate_sequences = 64;
  std::int64_t max_void_steps = 10;
  std::int64_t collective_limit_s = 600;
  std::string signing_key;
  std::string contract_note;
  std::vector<std::string> kernel_sets;

  template <class V>
  void visit(V& v) {
    v.field("steps", steps, "where the run stops");
    v.field("output", output, "run folder; empty means runs/<experiment name>");
    v.field("beacon_value", beacon_value, "hex value of experiment.beacon's round, once it is public");
    v.field("checkpoint_every", checkpoint_every, "steps between checkpoints; 0 means only at the end");
    v.field("async_save", async_save, "checkpoints are written while training goes on, from a copy of the state");
    v.field("keep", keep, "newest checkpoints to keep");
    v.field("anchor_every", anchor_every, "every so many checkpoints' steps are kept for good; 0 means none");
    v.field("root_every", root_every, "steps between state roots in the ledger; 0 means only at checkpoints");
    v.field("evaluate_every", evaluate_every, "steps between validations; 0 means only at the end");
    v.field("evaluate_sequences", evaluate_sequences, "most validation sequences per source");
    v.field("max_void_steps", max_void_steps, "void steps in a row that stop the run");
    v.field("collective_limit_s", collective_limit_s, "seconds that a rank waits for the others before the job ends");
    v.field("signing_key", signing_key, "PEM file of the Ed25519 private key that signs the run's log; empty: no log");
    v.field("contract_note", contract_note, "signed contract note that the run folder gets a copy of; empty: none");
    v.field("kernel_sets", kernel_sets,
            "digests of kernel sets (`baekji contract` prints one) that the run may go on under with its work proved");
  }
  /// Whether a save may be due that training does not end with: the last one has nothing to go on beside.
  bool saves_beside_training() const { return async_save && checkpoint_every > 0 && checkpoint_every < steps; }
};

/// [log]
struct LogConfig {
  std::int64_t every = 10;
  std::int64_t detail_every = 0;
  bool tensorboard = true;
  bool measure_ceiling = true;

  template <class V>
  void visit(V& v) {
    v.field("every", every, "steps between progress lines");
    v.field("detail_every", detail_every, "steps between per-parameter norms; 0 means never");
    v.field("tensorboard", tensorboard, "write TensorBoard event files");
    v.field("measure_ceiling", measure_ceiling,
            "measure the matmul ceiling at the start (0.3 s); without it there is no mfu");
  }
};

/// What holds from a step on: the base tables, or a [[stage]] over the one before.
struct TrainingStage {
  std::int64_t from_step = 1;
  std::int64_t context = 0;
  double rope_theta = 0;
  std::int64_t global_batch = 0;
  std::int64_t micro_batch = 0;
  std::vector<double> weights;  ///< one per source

  template <class V>
  void visit(V& v) {
    v.field("from_step", from_step, "first step of the stage");
    v.field("context", context, "tokens per sequence");
    v.field("rope_theta", rope_theta, "base of the rotary frequencies");
    v.field("global_batch", global_batch, "sequences per optimizer step");
    v.field("micro_batch", micro_batch, "sequences per forward pass");
    v.field("weights", weights, "weights of the sources, in the order of [[data.source]]");
  }
  bool same_shape(const TrainingStage& other) const {
    return context == other.context && rope_theta == other.rope_theta && micro_batch == other.micro_batch;
  }
};

struct Experiment {
  IdentityConfig identity;
  ModelConfig model;
  DataConfig data;
  OptimizerConfig optimizer;
  NumericsConfig numerics;
  LayoutConfig layout;
  RunConfig run;
  LogConfig log;
  std::vector<TrainingStage> stages;  ///< at least one; the first starts at step 1
  std::string place;                  ///< the file, for errors

  const TrainingStage& stage(std::int64_t step) const;
  std::filesystem::path output() const;
};

/// Reads and checks an experiment file. Relative paths inside it are taken from the current folder. Throws Error on an
/// unknown key, a wrong type, an impossible shape or a feature that this build does not have.
Experiment load_experiment(const std::filesystem::path& path, std::span<const std::string> overrides);

/// The same from keys that were read already; `place` names them in errors.
Experiment read_experiment(const nlohmann::json& file, const std::string& place);

/// The resolved experiment as TOML: stored with the run, and accepted by load_experiment.
std::string resolved_toml(const Experiment& experiment);

/// Every key of an experiment file with its default and meaning, as TOML: configs/reference.toml.
std::string reference_toml();

/// The stages as the batch order sees them.
std::vector<OrderStage> order_stages(const Experiment& experiment);
inline constexpr const char* kContractFormat = "baekji-contract-1";
/// The versions of the formats that a run of this program writes, as they stand in its contract.
nlohmann::json contract_formats();
/// The contract (docs/formats/contract.md): what decides bits, as canonical JSON.
nlohmann::json contract_of(const Experiment& experiment, const Digest& tokenizer_digest,
                           std::span<const TokenStore> stores);

}  // namespace baekji
