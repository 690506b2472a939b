// Attacks on what is said of a release: every statement here is signed with the true key, and false.

#include <gmock/gmock.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "proof/attestation.h"
#include "proof/run_statements.h"
#include "tests/proof/openssl.h"
#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ReleaseAttack : public OpensslTest {
 protected:
  void SetUp() override {
    OpensslTest::SetUp();
    if (IsSkipped()) return;
    run_ = fresh_folder("released");
    fs::copy(honest_run(), run_, fs::copy_options::recursive);
    model_ = folder_ / "hf";
    statements_ = folder_ / "statements";
    ASSERT_EQ(program({"export", run_.string(), "--output", model_.string()}), 0) << read("program.log");
    ASSERT_EQ(attest(statements_), 0) << read("program.log");
  }

  int program(const std::vector<std::string>& arguments) const {
    return wait_for(start_program(arguments, folder_ / "program.log"));
  }
  int attest(const fs::path& output) const {
    return program({"attest", run_.string(), "--key", (folder_ / "key.pem").string(), "--output", output.string(),
                    "--export", model_.string()});
  }
  EcdsaKey key() const { return EcdsaKey::load(folder_ / "key.pem"); }
  json statement(const std::string& name) const {
    return open_dsse(read_text(statements_ / name), EcdsaPublicKey::load(folder_ / "pub.pem"), name);
  }
  void sign(const std::string& name, const json& said) const {
    std::ofstream(statements_ / name) << dsse_envelope(said, key()).dump() << "\n";
  }
  VerifyOptions options(bool with_files = true) const {
    VerifyOptions options;
    options.run = run_;
    options.signatures.attestations = statements_;
    options.signatures.attestation_key = folder_ / "pub.pem";
    if (with_files) options.signatures.release = model_;
    return options;
  }
  // A manifest whose own digest is right again.
  static void rewrite_manifest(const fs::path& checkpoint, const std::function<void(CheckpointInfo&)>& change) {
    Manifest manifest = Checkpoint::open(checkpoint).manifest();
    change(manifest.info);
    std::ofstream(checkpoint / "manifest.json") << encode_manifest(manifest);
  }
  // A change of a true statement, signed again, must be called false; what was true is put back.
  void expect_false(const std::string& name, const std::string& what, const std::function<void(json&)>& change) const {
    const std::string good = read_text(statements_ / name);
    json said = statement(name);
    change(said);
    sign(name, said);
    const Verdict verdict = verdict_of(options());
    EXPECT_FALSE(verdict.passed) << what;
    EXPECT_THAT(verdict.text, HasSubstr("FAIL  attested")) << what;
    std::ofstream(statements_ / name) << good;
  }

  fs::path run_, model_, statements_;
};

TEST_F(ReleaseAttack, AnHonestReleaseIsVerified) {
  const Verdict verdict = verdict_of(options());
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("exported again, gives each of them"), HasSubstr("holds these 6 files"),
                                  HasSubstr("model.sig is of the same files"), HasSubstr("chain of"),
                                  HasSubstr("ok    attested   co")));
  std::printf("%s", verdict.text.c_str());
  EXPECT_TRUE(verdict_of(options(false)).passed);
}

TEST_F(ReleaseAttack, EveryFieldOfTheReleaseIsChecked) {
  const Ledger ledger = Ledger::open_read_only(run_ / "ledger.jsonl");
  const auto field = [&](const char* member, const json& value) {
    expect_false("release.dsse.json", member, [&](json& said) { said["predicate"][member] = value; });
  };
  field("contract", to_hex(sha256("another")));
  field("ledger_head", to_hex(sha256("another")));
  field("ledger_head", ledger.head_after(1));  // a line before the state was
  field("ledger_head", 7);
  field("state_root", to_hex(*ledger.state_root_of(6)));
  field("step", 6);
  field("step", 0);
  field("step", -1);
  field("step", 7);  // has no root
  field("step", 1000000);
  field("step", "8");
  field("tokens", 1000000000000);
  field("kernel_set", to_hex(sha256("an exotic one")));
  field("form", "llama");
  field("dtype", "bf16");
  field("dtype", "fp8");
  field("shard_bytes", 20000);
  field("shard_bytes", 0);
  field("trained_by", "us");
  expect_false("release.dsse.json", "a field less", [](json& said) { said["predicate"].erase("tokens"); });
}

TEST_F(ReleaseAttack, EveryFileOfTheReleaseIsChecked) {
  const auto change = [&](const char* what, const std::function<void(json&)>& of) {
    expect_false("release.dsse.json", what, [&](json& said) { of(said["subject"]); });
  };
  change("foreign weights", [](json& files) {
    for (json& file : files) {
      if (file["name"] == "model.safetensors") file["digest"]["sha256"] = to_hex(sha256("foreign weights"));
    }
  });
  change("another tokenizer", [](json& files) { files[2]["digest"]["sha256"] = to_hex(sha256("t")); });
  change("no files", [](json& files) { files = json::array(); });
  change("a file less", [](json& files) { files.erase(1); });
  change("a file more", [](json& files) {
    files.push_back({{"name", "modeling.py"}, {"digest", files[0]["digest"]}});
  });
  change("a file twice", [](json& files) { files.push_back(files[0]); });
  change("another name", [](json& files) { files[0]["name"] = "../config.json"; });
  change("another digest beside", [](json& files) { files[0]["digest"]["md5"] = "00"; });
  change("no object", [](json& files) { files[0] = "config.json"; });
}

// Foreign weights in the folder, and a statement and a model.sig of exactly these: what counts is the run's state.
TEST_F(ReleaseAttack, ForeignWeightsUnderTrueSignatures) {
  json said = statement("release.dsse.json");
  std::string weights = read_text(model_ / "model.safetensors");
  weights.back() = static_cast<char>(weights.back() ^ 1);
  std::ofstream(model_ / "model.safetensors", std::ios::binary) << weights;
  std::vector<AttestedSubject> files = subjects_of(said);
  for (AttestedSubject& file : files) {
    if (file.name == "model.safetensors") file.digest = sha256(weights);
  }
  sign("release.dsse.json", in_toto_statement(files, kReleasePredicate, said["predicate"]));
  std::ofstream(statements_ / "model.sig") << sigstore_bundle(model_signature_statement("hf", files), key()).dump();
  const Verdict verdict = verdict_of(options());
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("FAIL  attested   a statement is not true of this run"),
                                  HasSubstr("/subject/4/digest/sha256")));
  std::printf("%s", verdict.text.c_str());
  EXPECT_EQ(attest(folder_ / "again"), 1) << "nor does attest sign them";
}

TEST_F(ReleaseAttack, EveryFieldOfContractAndChainIsChecked) {
  const auto field = [&](const std::string& name, const char* member, const json& value) {
    expect_false(name, member, [&](json& said) { said["predicate"][member] = value; });
  };
  const std::string other = to_hex(sha256("another"));
  field("contract.dsse.json", "genesis_state_root", other);
  field("contract.dsse.json", "kernel_set", other);
  field("contract.dsse.json", "contract", json::object());
  field("contract.dsse.json", "licence", "ours");
  expect_false("contract.dsse.json", "subject", [&](json& said) { said["subject"][0]["digest"]["sha256"] = other; });
  expect_false("contract.dsse.json", "name", [&](json& said) { said["subject"][0]["name"] = "contract2.json"; });
  expect_false("contract.dsse.json", "member", [&](json& said) { said["note"] = "x"; });
  field("chain.dsse.json", "contract", other);
  field("chain.dsse.json", "head", other);
  field("chain.dsse.json", "records", 3);
  field("chain.dsse.json", "records", 0);
  field("chain.dsse.json", "records", 1000000);
  field("chain.dsse.json", "first_step", 0);
  field("chain.dsse.json", "last_step", 9);
  field("chain.dsse.json", "state_roots", json::array());
  expect_false("chain.dsse.json", "a root",
               [&](json& said) { said["predicate"]["state_roots"][1]["state_root"] = other; });
  expect_false("chain.dsse.json", "a step", [&](json& said) { said["predicate"]["state_roots"][1]["step"] = 3; });
  expect_false("chain.dsse.json", "a root more", [&](json& said) {
    said["predicate"]["state_roots"].push_back({{"step", 9}, {"state_root", other}});
  });
}

TEST_F(ReleaseAttack, AnotherKindOfStatementIsNone) {
  for (const char* type : {"https://baekji/attestation/release/v1", "https://slsa.dev/provenance/v1", ""})
    expect_false("release.dsse.json", type, [&](json& said) { said["predicateType"] = type; });
  const std::string contract = read_text(statements_ / "contract.dsse.json");
  const std::string chain = read_text(statements_ / "chain.dsse.json");
  std::ofstream(statements_ / "chain.dsse.json") << contract;
  EXPECT_THAT(verdict_of(options()).text, HasSubstr("a statement of another kind")) << "contract in place of chain";
  std::ofstream(statements_ / "chain.dsse.json") << chain;
  EXPECT_TRUE(verdict_of(options()).passed);
}

TEST_F(ReleaseAttack, WhatIsNotThereIsNotVerified) {
  const auto without = [&](const std::string& name, bool with_files) {
    fs::rename(statements_ / name, folder_ / "aside");
    const Verdict verdict = verdict_of(options(with_files));
    fs::rename(folder_ / "aside", statements_ / name);
    EXPECT_FALSE(verdict.passed) << name;
    return verdict.text;
  };
  for (const char* name : {"contract.dsse.json", "chain.dsse.json", "release.dsse.json", "model.sig"})
    EXPECT_THAT(without(name, false), AllOf(HasSubstr("left  attested"), Not(HasSubstr("FAIL")))) << name;
  // One statement of three.
  for (const char* name : {"chain.dsse.json", "release.dsse.json", "model.sig"}) fs::remove(statements_ / name);
  EXPECT_THAT(verdict_of(options(false)).text, HasSubstr("left  attested"));
  EXPECT_THAT(verdict_of(options()).text, HasSubstr("FAIL  attested   no statement is about a release"));
  VerifyOptions no_statements;
  no_statements.run = run_;
  no_statements.signatures.release = model_;
  EXPECT_THAT(verdict_of(no_statements).text, HasSubstr("error: "));
}

TEST_F(ReleaseAttack, AReleaseWhoseStateIsNotKeptIsPartlyVerified) {
  fs::rename(run_ / "checkpoints" / "step-00000008", folder_ / "step-00000008");
  const Verdict gone = verdict_of(options());
  EXPECT_FALSE(gone.passed);
  EXPECT_THAT(gone.text, AllOf(HasSubstr("left  attested   release of 6 files: the state of step 8 is not kept"),
                               HasSubstr("baekji open"), Not(HasSubstr("FAIL"))));
  // What can be checked without it is: a false field still fails.
  expect_false("release.dsse.json", "tokens", [](json& said) { said["predicate"]["tokens"] = 1; });
  // Opened again by the owner, it lies elsewhere.
  fs::create_directories(run_ / "opened");
  fs::rename(folder_ / "step-00000008", run_ / "opened" / "step-00000008");
  EXPECT_TRUE(verdict_of(options()).passed) << verdict_of(options()).text;
}

TEST_F(ReleaseAttack, TheFilesThemselvesAreTheOnesThatWereSigned) {
  const auto refused = [&](const char* why) {
    EXPECT_THAT(verdict_of(options()).text, HasSubstr("FAIL  attested")) << why;
    EXPECT_EQ(attest(folder_ / "again"), 1) << why;
  };
  std::ofstream(model_ / "modeling_llama.py") << "import os";
  refused("a file more");
  fs::remove(model_ / "modeling_llama.py");
  fs::create_directories(model_ / "extra");
  std::ofstream(model_ / "extra" / "x") << "x";
  refused("a file more, further down");
  fs::remove_all(model_ / "extra");
  fs::rename(model_ / "config.json", folder_ / "config.json");
  refused("a file less");
  fs::create_symlink(folder_ / "config.json", model_ / "config.json");
  refused("a link in its place");
  fs::remove(model_ / "config.json");
  fs::rename(folder_ / "config.json", model_ / "config.json");
  fs::create_symlink("/etc/passwd", model_ / "model.sig");
  refused("a link under a name that is left out");
  fs::remove(model_ / "model.sig");
  EXPECT_TRUE(verdict_of(options()).passed);
}

// The checkpoint of another step under a release's name, and one whose manifest says other tokens.
TEST_F(ReleaseAttack, AStateIsTheOneOfItsStep) {
  const fs::path eight = run_ / "checkpoints" / "step-00000008";
  fs::rename(eight, folder_ / "eight");
  fs::copy(run_ / "checkpoints" / "step-00000006", eight, fs::copy_options::recursive);
  EXPECT_THAT(verdict_of(options()).text, HasSubstr("FAIL  attested   a checkpoint lies in the directory of another"));
  rewrite_manifest(eight, [](CheckpointInfo& info) { info.step = 8; });
  EXPECT_THAT(verdict_of(options()).text, HasSubstr("FAIL  attested"));
  fs::remove_all(eight);
  fs::rename(folder_ / "eight", eight);
  rewrite_manifest(eight, [](CheckpointInfo& info) { info.tokens *= 1000; });
  EXPECT_THAT(verdict_of(options()).text, HasSubstr("are not the ledger's"));
  EXPECT_EQ(attest(folder_ / "again"), 1);
}

// A release of a state that a rollback has undone since: its step has no root any more.
TEST_F(ReleaseAttack, AReleaseOfWhatARollbackUndid) {
  const Experiment e = load(run_, {"run.steps=8", "run.keep=100"});
  train_alone(e, {.rollback = RollbackEvent{.to = 6, .skip = {.from = 7, .to = 7}}});
  const Verdict verdict = verdict_of(options());
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, HasSubstr("FAIL  attested"));
  // The chain of before is still true of the lines that it covers.
  EXPECT_THAT(verdict.text, HasSubstr("left  attested   chain of"));
}

TEST_F(ReleaseAttack, ASignatureOfTheModelIsOfTheseFiles) {
  const auto bundle = [&](const json& said) {
    std::ofstream(statements_ / "model.sig") << sigstore_bundle(said, key()).dump() << "\n";
    return verdict_of(options()).text;
  };
  std::vector<AttestedSubject> files = subjects_of(statement("release.dsse.json"));
  EXPECT_TRUE(verdict_of(options()).passed);
  const std::string name = model_signature_name(Ledger::genesis_of(run_ / "ledger.jsonl").contract, 8);
  EXPECT_THAT(bundle(model_signature_statement(name, files)), Not(HasSubstr("FAIL")));
  EXPECT_THAT(bundle(model_signature_statement("another-model", files)), HasSubstr("FAIL  attested")) << "its name";
  files[0].digest = sha256("another");
  EXPECT_THAT(bundle(model_signature_statement(name, files)), HasSubstr("FAIL  attested"));
  files.pop_back();
  EXPECT_THAT(bundle(model_signature_statement(name, files)), HasSubstr("FAIL  attested"));
  std::ofstream(statements_ / "model.sig") << "{}";
  EXPECT_THAT(verdict_of(options()).text, HasSubstr("FAIL  attested   not a bundle of this key"));
}

}  // namespace
}  // namespace baekji::tiny
