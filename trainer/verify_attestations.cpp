#include "trainer/verify_attestations.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "proof/run_statements.h"
#include "trainer/model_export.h"
#include "trainer/release_files.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kCheck = "attested";

// What is signed must be what comes out of the run, to the last member.
void require_statement(const json& expected, const json& said, const std::string& place) {
  if (expected == said) return;
  const json changes = json::diff(expected, said);
  const json::json_pointer member(changes.empty() ? "" : changes.front().at("path").get<std::string>());
  const auto text = [&](const json& value) {
    return value.contains(member) ? value.at(member).dump().substr(0, 200) : std::string("nothing");
  };
  throw Error("a statement is not true of this run")
      .values(fmt::format("{} = {}", member.to_string(), text(expected)), text(said))
      .at(place);
}

class AttestationCheck {
 public:
  AttestationCheck(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report)
      : run_(run), options_(options), report_(report), key_(EcdsaPublicKey::load(options.attestation_key)) {}

  void go() {
    if (!there("contract.dsse.json") && !there("chain.dsse.json") && !there("release.dsse.json")) {
      throw Error("no attestations")
          .values("contract.dsse.json, chain.dsse.json...", "none")
          .at(options_.attestations.string());
    }
    each("contract.dsse.json", kContractPredicate, [&](const json& said) { contract(said); });
    each("chain.dsse.json", kChainPredicate, [&](const json& said) { chain(said); });
    if (there("release.dsse.json") || there("model.sig"))
      each("release.dsse.json", kReleasePredicate, [&](const json& said) { release(said); });
    else if (!options_.release.empty())
      report_.fail(kCheck, "no statement is about a release: " + place_of("release.dsse.json") + " is not there");
  }

 private:
  std::string place_of(const char* name) const { return (options_.attestations / name).string(); }
  bool there(const char* name) const { return posix_file_system().exists(place_of(name)); }

  template <class Check>
  void each(const char* name, std::string_view type, const Check& check) {
    const std::string place = place_of(name);
    if (!there(name)) {
      report_.left(kCheck, fmt::format("{} is not there: `baekji attest` writes it", place));
      return;
    }
    try {
      const json said = open_dsse(read_untrusted(place, kMostStatementBytes), key_, place);
      require_equal(type, said.at("predicateType").get<std::string>(), "a statement of another kind", place);
      check(said);
    } catch (const Error& error) {
      report_.fail(kCheck, error.what());
    } catch (const json::exception& error) {
      report_.fail(kCheck, fmt::format("{}: a member is missing or of another type: {}", place, error.what()));
    }
  }

  void contract(const json& said) {
    require_statement(contract_statement(run_.ledger, run_.contract), said, place_of("contract.dsse.json"));
    report_.pass(kCheck, "contract " + to_hex(run_.ledger.genesis().contract));
  }

  void chain(const json& said) {
    const auto records = said.at("predicate").at("records").get<std::int64_t>();
    require_statement(chain_statement(run_.ledger, records), said, place_of("chain.dsse.json"));
    const std::string text = fmt::format("chain of {} of {} records", records, run_.ledger.record_count());
    if (records == run_.ledger.record_count())
      report_.pass(kCheck, text);
    else
      report_.left(kCheck, text + ": nobody signed the rest; `baekji attest` signs what the ledger has");
  }

  // Whether the state is kept in the run folder, so that it can be exported again.
  bool kept(std::int64_t step) const {
    for (const fs::path& folder : {run_.folder.checkpoints(), run_.folder.opened()}) {
      if (posix_file_system().exists(CheckpointStore(folder).path_of(step))) return true;
    }
    return false;
  }

  void release(const json& said) {
    const std::string place = place_of("release.dsse.json");
    const json& p = said.at("predicate");
    const std::vector<AttestedSubject> subjects = subjects_of(said);
    const std::string dtype = p.at("dtype").get<std::string>();
    Release expected{.step = p.at("step").get<std::int64_t>(),
                     .records = records_up_to(run_.folder.ledger(), p.at("ledger_head").get<std::string>()),
                     .form = std::string(hugging_face_form(run_.experiment.model)),
                     .dtype = dtype,
                     .shard_bytes = p.at("shard_bytes").get<std::int64_t>()};
    if (dtype != name_of(DType::kFloat32) && dtype != name_of(DType::kBfloat16))
      throw Error("no export has that type").values("fp32 or bf16", dtype).at(place);
    if (expected.records == 0)
      throw Error("the ledger has no line with the head of the release")
          .values("SHA-256 of a line", p.at("ledger_head").get<std::string>())
          .at(place);
    require_statement(release_statement(run_.ledger, expected, subjects), said, place);
    if (kept(expected.step)) {
      ThreadPool pool(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 64U)));
      const DType type = dtype == name_of(DType::kFloat32) ? DType::kFloat32 : DType::kBfloat16;
      ModelExport model(run_.folder, {.step = expected.step, .type = type, .shard_bytes = expected.shard_bytes}, pool);
      require_statement(release_statement(run_.ledger, expected, digests_of(model)), said, place);
      report_.pass(kCheck, fmt::format("release of {} files: the state of step {}, exported again, gives each of them",
                                       subjects.size(), expected.step));
    } else {
      report_.left(kCheck, fmt::format("release of {} files: the state of step {} is not kept, so they were not made "
                                       "again; the owner's `baekji open {} --steps {}` makes it from an earlier one",
                                       subjects.size(), expected.step, run_.folder.root.string(), expected.step + 1));
    }
    files(subjects);
    model_signature(subjects, expected.step);
  }

  void files(const std::vector<AttestedSubject>& subjects) {
    if (options_.release.empty()) {
      report_.note(kCheck, "files of a release were not compared: --release names their folder");
      return;
    }
    require_release_files(options_.release, subjects);
    report_.pass(kCheck, fmt::format("{} holds these {} files", options_.release.string(), subjects.size()));
  }

  void model_signature(const std::vector<AttestedSubject>& subjects, std::int64_t step) {
    const std::string place = place_of("model.sig");
    if (!there("model.sig")) {
      report_.left(kCheck, place + " is not there: `baekji attest` writes it with a release");
      return;
    }
    const json said = open_sigstore_bundle(read_untrusted(place, kMostStatementBytes), key_, place);
    const std::string name = model_signature_name(run_.ledger.genesis().contract, step);
    require_statement(model_signature_statement(name, subjects), said, place);
    report_.pass(kCheck, "model.sig is of the same files");
  }

  const VerifiedRun& run_;
  const SignatureOptions& options_;
  VerifyReport& report_;
  EcdsaPublicKey key_;
};

}  // namespace

void verify_attestations(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report) {
  if (options.attestations.empty()) {
    if (!options.release.empty())
      throw Error("a release is compared with what was signed of it").values("--attestations", "none").at("--release");
    return;
  }
  AttestationCheck(run, options, report).go();
}

}  // namespace baekji
