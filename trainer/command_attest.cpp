#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "checkpoint/file_digest.h"
#include "core/untrusted_file.h"
#include "proof/attestation.h"
#include "proof/contract.h"
#include "proof/ledger.h"
#include "trainer/commands.h"
#include "trainer/model_export.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct AttestArguments {
  std::string run;
  std::string key;
  std::string output;
  std::string model;
};

json attested_contract(const RunFolder& folder, const Ledger& ledger) {
  const std::string text = read_untrusted(folder.contract(), kMostContractBytes);
  const AttestedSubject subject{.name = "contract.json", .digest = contract_digest(text)};
  require_equal(to_hex(ledger.genesis().contract), to_hex(subject.digest),
                "contract.json is not the contract of the ledger", folder.contract().string());
  return in_toto_statement(std::span(&subject, 1), kContractPredicate,
                           {{"contract", parse_canonical_json(text, folder.contract().string())},
                            {"genesis_state_root", to_hex(ledger.genesis().state_root)},
                            {"kernel_set", to_hex(kernel_set_digest(ledger.genesis().kernel_set))}});
}

json attested_chain(const Ledger& ledger) {
  json roots = json::array();
  for (const auto& [step, root] : ledger.state_roots()) roots.push_back({{"step", step}, {"state_root", to_hex(root)}});
  const AttestedSubject subject{.name = "ledger.jsonl#last-line", .digest = ledger.head()};
  return in_toto_statement(std::span(&subject, 1), kChainPredicate,
                           {{"contract", to_hex(ledger.genesis().contract)},
                            {"head", to_hex(ledger.head())},
                            {"records", ledger.record_count()},
                            {"first_step", ledger.last_step() == 0 ? 0 : 1},
                            {"last_step", ledger.last_step()},
                            {"state_roots", roots}});
}

// The files that verifiers will look at.
std::vector<std::string> files_of(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).generic_string();
    if (ignored_by_model_signature(name) || (entry.is_directory() && !entry.is_symlink())) continue;
    if (!entry.is_regular_file() || entry.is_symlink())
      throw Error("an export holds plain files only").values("a file", "a link or something else").at(name);
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Nobody's word is taken for what the weights are: the export is made again from the checkpoint, and every file of the
// folder must be what comes out.
std::vector<AttestedSubject> check_export(ModelExport& model, const fs::path& folder) {
  const std::vector<AttestedSubject> files =
      model.produce([](const std::string&, const std::function<void(const ByteSink&)>& produce) {
        produce([](std::string_view) {});
      });
  std::vector<std::string> expected;
  for (const AttestedSubject& file : files) {
    expected.push_back(file.name);
    require_equal(to_hex(file.digest), to_hex(file_digest(folder / file.name)),
                  "a file of the export is not what the run's state gives (SHA-256)", (folder / file.name).string());
  }
  std::sort(expected.begin(), expected.end());
  require_equal(fmt::format("{}", fmt::join(expected, ", ")), fmt::format("{}", fmt::join(files_of(folder), ", ")),
                "the export has other files than it should", folder.string());
  return files;
}

json attested_release(const ModelExport& model, const Ledger& ledger, std::span<const AttestedSubject> files) {
  const CheckpointInfo& info = model.info();
  return in_toto_statement(files, kReleasePredicate,
                           {{"contract", to_hex(info.contract)},
                            {"ledger_head", to_hex(ledger.head())},
                            {"state_root", to_hex(info.state_root)},
                            {"step", info.step},
                            {"tokens", info.tokens},
                            {"kernel_set", to_hex(kernel_set_digest(info.kernel_set))},
                            {"form", model.form()},
                            {"dtype", name_of(model.type())}});
}

void attest(const AttestArguments& a) {
  const EcdsaKey key = EcdsaKey::load(a.key);
  const RunFolder folder = open_run_folder(a.run);
  const Ledger ledger = Ledger::open_read_only(folder.ledger());
  OutputFolder output(a.output);
  const auto write = [&](const std::string& name, const json& value) { output.write(name, value.dump() + "\n"); };
  write("contract.dsse.json", dsse_envelope(attested_contract(folder, ledger), key));
  write("chain.dsse.json", dsse_envelope(attested_chain(ledger), key));
  if (!a.model.empty()) {
    const fs::path place = fs::weakly_canonical(a.model);
    ThreadPool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
    ModelExport model(folder, export_options(place), pool);
    const std::vector<AttestedSubject> files = check_export(model, place);
    write("release.dsse.json", dsse_envelope(attested_release(model, ledger, files), key));
    write("model.sig", sigstore_bundle(model_signature_statement(place.filename().string(), files), key));
  }
  output.commit();
  fmt::print("attested {} steps up to ledger head {}{} with key {}\n", ledger.last_step(), to_hex(ledger.head()),
             a.model.empty() ? "" : " and the files in " + a.model, key_hint(key));
}

}  // namespace

void add_attest_command(CLI::App& app) {
  auto a = std::make_shared<AttestArguments>();
  CLI::App* command = app.add_subcommand("attest", "signed statements on a run's contract, its ledger and an export");
  command->add_option("run", a->run, "run folder")->required();
  command->add_option("--key", a->key, "private key on the curve P-256, PEM")->required();
  command->add_option("--output", a->output, "new folder for the statements")->required();
  command->add_option("--export", a->model, "folder that `baekji export` wrote of this run: signed too");
  command->callback([a] { attest(*a); });
}

}  // namespace baekji
