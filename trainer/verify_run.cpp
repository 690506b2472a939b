#include "trainer/verify_run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/printable.h"
#include "core/random.h"
#include "core/untrusted_file.h"
#include "model/parameters.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "proof/genesis.h"
#include "proof/merkle_tree.h"
#include "proof/state_root.h"
#include "trainer/ledger_rules.h"
#include "trainer/run_experiment.h"
#include "trainer/saved_model.h"
#include "trainer/verify_rollbacks.h"

namespace baekji {
namespace {

using nlohmann::json;

// The experiment file decides names, shapes and order: it must be the one that the contract was made of. What only the
// data files know is taken from the contract.
void require_experiment(const Experiment& experiment, const json& contract, const std::string& place) {
  json mine = contract_of(experiment, Digest{}, {});
  for (const char* member : {"tokenizer", "sources"}) mine[member] = contract.at(member);
  for (const auto& [name, value] : mine.items()) {
    const json theirs = contract.value(name, json());
    if (theirs != value) {
      throw Error("the experiment file of the run is not that of its contract")
          .values(fmt::format("{} = {}", name, theirs.dump()), fmt::format("{} = {}", name, value.dump()))
          .at(place);
    }
  }
  require_equal(mine.size(), contract.size(), "the contract has other members than this program knows", place);
}

std::uint64_t seed_of(const json& contract, const GenesisRecord& genesis, VerifyReport& report) {
  if (contract.contains("seed")) {
    report.note("seed", "not proved: the contract names it, so its owner chose it");
    return contract["seed"].get<std::uint64_t>();
  }
  const json& beacon = contract.at("beacon");
  if (genesis.beacon_value.empty())
    throw Error("the genesis record lacks the beacon's value").values("seed.value", "nothing").at("ledger.jsonl");
  const auto name = beacon.at("name").get<std::string>();
  const auto round = beacon.at("round").get<std::int64_t>();
  report.note("seed", fmt::format("from {} round {} (came at POSIX time {}), value {}: look it up", name, round,
                                  beacon_time_s(name, round), bytes_to_hex(genesis.beacon_value)));
  return seed_from_beacon(genesis.contract, genesis.beacon_value);
}

// One sequence of a batch, opened from the root that the ledger has: where its tokens are, with the proof.
std::string open_sequence(const Loader& loader, std::int64_t step, std::int64_t batch, const Digest& root,
                          const std::string& nonce) {
  const BatchOrder& order = loader.order();
  const std::int64_t count = order.stage(batch).global_batch;
  const RandomStream stream("baekji.verify.sequence", 0, nonce);
  const auto index =
      static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(count)));
  const auto leaf = [&](std::int64_t i) { return loader.sequence_leaf(batch, i); };
  const std::vector<Digest> proof = inclusion_proof(index, count, [&](std::int64_t height, std::int64_t node) {
    MerkleBuilder tree;
    for (std::int64_t i = node << height; i < (node + 1) << height; ++i) tree.add(leaf(i));
    return tree.root();
  });
  if (!includes(root, count, leaf(index), index, proof))
    throw Error("a sequence is not in the batch of its step").at(fmt::format("step {}, sequence {}", step, index));
  const SequencePosition at = order.at(batch, index);
  return fmt::format("step {} sequence {} opens to source {}, pass {}, tokens {} to {}, with {} hashes", step, index,
                     printable(order.sources()[static_cast<std::size_t>(at.source)].name), at.pass, at.begin,
                     at.begin + at.length - 1, proof.size());
}

// The tokenizer that lies in the run, and that exports and generation take.
void check_tokenizer(const RunFolder& folder, const json& contract, VerifyReport& report) {
  const std::string expected = contract.at("tokenizer").get<std::string>();
  if (!posix_file_system().exists(folder.tokenizer())) {
    report.left("tokenizer",
                fmt::format("{} is not there: the contract's has SHA-256 {}", folder.tokenizer().string(), expected));
    return;
  }
  const std::string found = to_hex(sha256(read_untrusted(folder.tokenizer(), kMostTokenizerBytes)));
  if (found == expected)
    report.pass("tokenizer", expected);
  else
    report.fail("tokenizer",
                fmt::format("tokenizer.model is not the one of the contract: {}, not {}", found, expected));
}

}  // namespace

VerifiedRun open_verified(const std::filesystem::path& path, VerifyReport& report) {
  RunFolder folder = open_run_folder(path);
  Ledger ledger = open_run_ledger(folder);
  report.pass("ledger", fmt::format("{} records, {} steps, head {}{}", ledger.record_count(), ledger.last_step(),
                                    to_hex(ledger.head()), ledger.torn_bytes() > 0 ? " (its last line is torn)" : ""));
  const std::string contract = read_untrusted(folder.contract(), kMostContractBytes);
  require_equal(to_hex(ledger.genesis().contract), to_hex(contract_digest(contract)),
                "the contract of the run is not the one that its ledger began with", folder.contract().string());
  Experiment experiment = load_run_experiment(folder.root, {});
  // What the ledger says, whatever the file does.
  experiment.run.beacon_value = bytes_to_hex(ledger.genesis().beacon_value);
  experiment.run.steps = std::max<std::int64_t>(ledger.last_step(), 1);
  const json members = parse_canonical_json(contract, folder.contract().string());
  require_experiment(experiment, members, folder.experiment().string());
  report.pass("contract", to_hex(ledger.genesis().contract));
  check_tokenizer(folder, members, report);
  report_rollbacks(ledger, report);
  if (ledger.divergences() > 0)
    report.note("divergence",
                fmt::format("{} times a step was trained again and came out otherwise", ledger.divergences()));
  const std::uint64_t seed = seed_of(members, ledger.genesis(), report);
  return {.folder = std::move(folder),
          .experiment = std::move(experiment),
          .ledger = std::move(ledger),
          .contract = contract,
          .seed = seed};
}

void verify_genesis(const VerifiedRun& run, ThreadPool& pool, VerifyReport& report) {
  const ModelParameters declared = declare_parameters(run.experiment.model, run.experiment.numerics.tensor_grains);
  std::vector<StateLeaf> leaves;
  std::vector<float> master, moments;
  for (const ParameterGroup& group : declared.groups) {
    for (const ParameterSpec& spec : group.members) {
      const std::int64_t count = spec.logical.slice_elements();
      master.assign(static_cast<std::size_t>(count), 0.0F);
      moments.assign(static_cast<std::size_t>(count), 0.0F);
      for (std::int64_t slice = 0; slice < spec.logical.slices; ++slice) {
        const StateShard shard{.tensor = &spec.logical,
                               .initialisation = spec.initialisation,
                               .slice = slice,
                               .begin = 0,
                               .count = count,
                               .values = {master.data(), moments.data(), moments.data()}};
        fill_genesis(std::span(&shard, 1), run.seed, pool);
        std::vector<StateLeaf> more = state_leaves(std::span(&shard, 1), pool);
        std::move(more.begin(), more.end(), std::back_inserter(leaves));
      }
    }
  }
  const std::size_t chunks = leaves.size();
  const Digest root = state_root(std::move(leaves));
  const std::string expected = to_hex(run.ledger.genesis().state_root);
  if (to_hex(root) == expected)
    report.pass("genesis", fmt::format("{} chunks from seed {} give the ledger's root {}", chunks, run.seed, expected));
  else
    report.fail("genesis", fmt::format("the seed gives root {}, the ledger began with {}", to_hex(root), expected));
}

RunInputs open_verified_inputs(const VerifiedRun& run) {
  RunInputs inputs = open_inputs(run.experiment);
  if (inputs.digest != run.ledger.genesis().contract) {
    throw Error("the data files or the tokenizer are not those of the contract")
        .values(to_hex(run.ledger.genesis().contract), to_hex(inputs.digest))
        .at(run.experiment.place + " [data]");
  }
  return inputs;
}

void verify_data(const VerifiedRun& run, const RunInputs& inputs, const std::string& nonce, std::int64_t samples,
                 VerifyReport& report) {
  const BatchOrder& order = inputs.loader.order();
  const std::int64_t steps = run.ledger.last_step();
  const std::int64_t count = std::min(samples, steps);
  std::int64_t wrong = 0;
  std::string opened;
  if (steps > 0) {
    const KeyedPermutation drawn("baekji.verify.data", 0, nonce, static_cast<std::uint64_t>(steps));
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t step = 1 + static_cast<std::int64_t>(drawn(static_cast<std::uint64_t>(i)));
      const std::int64_t batch = run.ledger.skipped().batch_of(step);
      const Digest expected = inputs.loader.batch_root(batch);
      const StepRecord record = parse_step_body(run.ledger.find_step(step).value(), run.folder.ledger().string());
      if (record.batch_root == expected) {
        opened = open_sequence(inputs.loader, step, batch, record.batch_root, nonce);
        continue;
      }
      ++wrong;
      report.fail("batches", fmt::format("step {}: the ledger has {}, the batch order and the stores give {}", step,
                                         to_hex(record.batch_root), to_hex(expected)));
    }
  }
  if (wrong == 0)
    report.pass("batches", fmt::format("{} of {} steps, drawn by nonce {}; {}", count, steps, nonce, opened));
  for (std::size_t i = 0; i < inputs.loader.stores().size(); ++i) {
    const TokenStore& store = inputs.loader.stores()[i];
    const std::string name = printable(order.sources()[i].name);
    try {
      store.verify({});
      report.pass("documents", fmt::format("{}: {} documents, {} tokens give root {}", name, store.info().documents,
                                           store.tokens(), to_hex(store.info().document_root)));
    } catch (const Error& error) {
      report.fail("documents", fmt::format("{}: {}", name, error.what()));
    }
  }
}

}  // namespace baekji
