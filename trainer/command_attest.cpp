#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "core/untrusted_file.h"
#include "proof/attestation.h"
#include "proof/ledger.h"
#include "proof/run_statements.h"
#include "trainer/commands.h"
#include "trainer/ledger_rules.h"
#include "trainer/model_export.h"
#include "trainer/release_files.h"
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

// Nobody's word is taken for what the weights are: the export is made again from the run's state, and every file of the
// folder must be what comes out.
std::vector<AttestedSubject> check_export(ModelExport& model, const fs::path& folder) {
  std::vector<AttestedSubject> files = digests_of(model);
  require_release_files(folder, files);
  return files;
}

void attest(const AttestArguments& a) {
  const EcdsaKey key = EcdsaKey::load(a.key);
  const RunFolder folder = open_run_folder(a.run);
  const Ledger ledger = open_run_ledger(folder);
  OutputFolder output(a.output);
  const auto write = [&](const std::string& name, const json& value) { output.write(name, value.dump() + "\n"); };
  write("contract.dsse.json",
        dsse_envelope(contract_statement(ledger, read_untrusted(folder.contract(), kMostContractBytes)), key));
  write("chain.dsse.json", dsse_envelope(chain_statement(ledger, ledger.record_count()), key));
  if (!a.model.empty()) {
    const fs::path place = fs::weakly_canonical(a.model);
    ThreadPool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
    const ModelExport::Options options = export_options(place);
    ModelExport model(folder, options, pool);
    const std::vector<AttestedSubject> files = check_export(model, place);
    const json statement = release_statement(ledger,
                                             {.step = model.info().step,
                                              .records = ledger.record_count(),
                                              .form = std::string(model.form()),
                                              .dtype = std::string(name_of(model.type())),
                                              .shard_bytes = options.shard_bytes},
                                             files);
    write("release.dsse.json", dsse_envelope(statement, key));
    const std::string name = model_signature_name(ledger.genesis().contract, model.info().step);
    write("model.sig", sigstore_bundle(model_signature_statement(name, files), key));
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
