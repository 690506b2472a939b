// Attacks on who signed a run: keys of its log, witnesses, the proof of its seed.

#include <gmock/gmock.h>

#include "proof/beacon.h"
#include "proof/contract_note.h"
#include "proof/log.h"
#include "proof/note_file.h"
#include "tests/key_files.h"
#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Keys = std::vector<std::string>;

class KeyAttack : public testing::Test {
 protected:
  void SetUp() override {
    keys_ = fresh_folder(std::string("key_attack_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(keys_);
    for (const char* name : {"owner", "second", "witness", "stranger"})
      write_public_key(pub(name), test_key(keys_, name).public_key());
  }

  fs::path pem(const std::string& name) const { return keys_ / (name + ".pem"); }
  fs::path pub(const std::string& name) const { return keys_ / (name + ".pub"); }
  std::string signing(const std::string& name) const { return "run.signing_key='" + pem(name).string() + "'"; }
  fs::path train_steps(const fs::path& run, int steps, const std::string& key, Keys more = {}) const {
    more.insert(more.end(), {fmt::format("run.steps={}", steps), "run.keep=100", signing(key)});
    train_alone(load(run, more));
    return run;
  }
  VerifyOptions options(const fs::path& run, const std::string& key = "owner", const Keys& witnesses = {}) const {
    VerifyOptions options;
    options.run = run;
    options.signatures.public_key = pub(key);
    for (const std::string& name : witnesses) options.signatures.witnesses.push_back(name + "=" + pub(name).string());
    return options;
  }
  int program(std::vector<std::string> arguments) const {
    return wait_for(start_program(arguments, keys_ / "program.log"));
  }
  std::string output() const { return read_text(keys_ / "program.log"); }

  fs::path keys_;
};

TEST_F(KeyAttack, HonestRotationVerifiesUnderTheOldAndTheNewKey) {
  const fs::path run = train_steps(fresh_folder("rotated"), 4, "owner");
  ASSERT_EQ(program({"log", run.string(), "--hand-over", pem("second").string(), "--key", pem("owner").string()}), 0)
      << output();
  EXPECT_THAT(output(), AllOf(HasSubstr("log/keys/0001"), HasSubstr("goes on under key")));
  // At this size the old signature stands, and holds.
  for (const char* name : {"owner", "second"}) EXPECT_TRUE(verdict_of(options(run, name)).passed);
  EXPECT_THROW(train_steps(run, 6, "owner"), Error);
  train_steps(run, 6, "second");
  for (const char* name : {"owner", "second"}) {
    const Verdict verdict = verdict_of(options(run, name));
    EXPECT_TRUE(verdict.passed) << verdict.text;
    EXPECT_THAT(verdict.text, AllOf(HasSubstr("ok    log"), HasSubstr("key 2 of 2")));
    std::printf("%s", verdict.text.c_str());
  }
  EXPECT_THAT(verdict_of(options(run)).text, HasSubstr("the given key is key 1 of 2"));
  EXPECT_THAT(verdict_of(options(run, "stranger")).text, HasSubstr("FAIL  log        the key is none of this log's"));
  // The old key is lost; its owner says so with the new one, and by its public half.
  ASSERT_EQ(program({"log", run.string(), "--revoke", pub("owner").string(), "--by", pem("second").string()}), 0)
      << output();
  const Verdict revoked = verdict_of(options(run));
  EXPECT_TRUE(revoked.passed) << revoked.text;
  EXPECT_THAT(revoked.text, HasSubstr("revoked beyond size"));
  train_steps(run, 8, "second");
  EXPECT_TRUE(verdict_of(options(run)).passed);
}

TEST_F(KeyAttack, ARevokedKeyGoesOnWithNothing) {
  const fs::path run = train_steps(fresh_folder("revoked"), 3, "owner");
  const fs::path before = keys_ / "before";
  fs::copy(run, before, fs::copy_options::recursive);
  EXPECT_EQ(program({"log", run.string(), "--revoke", pem("owner").string(), "--size", "2"}), 1);
  EXPECT_THAT(output(), HasSubstr("the log needs what would be revoked"));
  ASSERT_EQ(program({"log", run.string(), "--revoke", pem("owner").string()}), 0) << output();
  EXPECT_THROW(train_steps(run, 5, "owner"), Error);
  EXPECT_THAT(verdict_of(options(run)).text, AllOf(HasSubstr("ok    log"), HasSubstr("the log cannot go on")));
  // Somebody who has the key trains on in a copy that lacks the revocation: a verifier who kept it sees.
  train_steps(before, 5, "owner");
  EXPECT_TRUE(verdict_of(options(before)).passed);
  VerifyOptions warned = options(before);
  for (const auto& entry : fs::directory_iterator(run / "log" / "revoked"))
    warned.signatures.revocations.push_back(entry.path().string());
  ASSERT_EQ(warned.signatures.revocations.size(), 1U);
  EXPECT_THAT(verdict_of(warned).text, HasSubstr("FAIL  log        a checkpoint is signed by a key that may not"));
  // The owner hands over what was signed before, and goes on.
  ASSERT_EQ(program({"log", run.string(), "--hand-over", pem("second").string(), "--key", pem("owner").string()}), 0)
      << output();
  train_steps(run, 5, "second");
  EXPECT_TRUE(verdict_of(options(run, "second")).passed);
}

TEST_F(KeyAttack, TheCommandHandsOverOnlyWhatItMay) {
  const fs::path run = train_steps(fresh_folder("hand_over"), 2, "owner");
  const auto hand_over = [&](const std::string& to, const std::string& by) {
    return program({"log", run.string(), "--hand-over", pem(to).string(), "--key", pem(by).string()});
  };
  EXPECT_EQ(hand_over("second", "stranger"), 1);
  EXPECT_THAT(output(), HasSubstr("only the key in force can hand over"));
  EXPECT_EQ(hand_over("owner", "owner"), 1);
  EXPECT_THAT(output(), HasSubstr("a key cannot come back"));
  EXPECT_FALSE(fs::exists(run / "log" / "keys" / "0001")) << "what no verifier takes does not stay";
  EXPECT_EQ(hand_over("second", "owner"), 0) << output();
  EXPECT_EQ(hand_over("stranger", "second"), 1) << "two hand-overs of one size";
  EXPECT_THAT(output(), HasSubstr("a key that signed nothing cannot hand over"));
  EXPECT_EQ(program({"log", run.string(), "--revoke", pub("second").string(), "--by", pem("owner").string()}), 1);
  EXPECT_THAT(output(), HasSubstr("signed by nobody who may")) << "an earlier key revokes no later one";
  EXPECT_NE(program({"log", run.string()}), 0);
  const fs::path plain = fresh_folder("hand_over_plain");
  train_alone(load(plain, {"run.steps=1"}));
  EXPECT_EQ(program({"log", plain.string(), "--hand-over", pem("second").string(), "--key", pem("owner").string()}), 1);
}

TEST_F(KeyAttack, ALogOfOneRecordIsPartOfARun) {
  const fs::path run = fresh_folder("one_record");
  train_alone(load(run, {"run.steps=2"}));
  const Ledger ledger = Ledger::open_read_only(run / "ledger.jsonl");
  LogWriter({.folder = run / "log",
             .ledger = run / "ledger.jsonl",
             .contract = ledger.genesis().contract,
             .key = test_key(keys_, "owner"),
             .kernel_sets = {kernel_set_digest(ledger.genesis().kernel_set)}})
      .publish(1);
  const Verdict verdict = verdict_of(options(run));
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("left  log        signed for 1 of"), Not(HasSubstr("FAIL"))));
}

TEST_F(KeyAttack, AWitnessThatSignedNothingFails) {
  const fs::path run = train_steps(fresh_folder("no_witness"), 2, "owner");
  EXPECT_THAT(verdict_of(options(run, "owner", {"witness"})).text,
              HasSubstr("FAIL  witnessed  witness witness signed nothing that is here"));
  const fs::path checkpoint = run / "log" / "checkpoint";
  SignedNote note = read_note_file(checkpoint);
  cosign_note(note, "witness", test_key(keys_, "witness"), 1700000000);
  write_file(checkpoint, write_note(note));
  const Verdict signed_one = verdict_of(options(run, "owner", {"witness"}));
  EXPECT_TRUE(signed_one.passed) << signed_one.text;
  EXPECT_THAT(signed_one.text, HasSubstr("ok    witnessed"));
  EXPECT_FALSE(verdict_of(options(run, "owner", {"witness", "stranger"})).passed) << "one of two signed nothing";
  // A kept checkpoint that none of the given witnesses signed.
  const fs::path kept = keys_ / "kept";
  sign_note(note, log_origin(Ledger::open_read_only(run / "ledger.jsonl").genesis().contract),
            test_key(keys_, "owner"));
  note.signatures.erase(note.signatures.begin());
  SignedNote bare{.text = note.text, .signatures = {note.signatures.back()}};
  write_file(kept, write_note(bare));
  VerifyOptions with_kept = options(run, "owner", {"witness"});
  with_kept.signatures.witnessed = kept;
  EXPECT_THAT(verdict_of(with_kept).text, HasSubstr("FAIL  witnessed  no given witness signed the kept checkpoint"));
  VerifyOptions no_owner = options(run, "owner", {"witness"});
  no_owner.signatures.public_key.clear();
  EXPECT_THAT(verdict_of(no_owner).text, HasSubstr("error: "));
}

// A kernel set that the opening does not name: said when the run goes on, and seen by who asks for the admissible ones.
TEST_F(KeyAttack, TheOpeningNamesTheKernelSetsThatCount) {
  const std::string more = to_hex(sha256("another machine"));
  const fs::path run = train_steps(fresh_folder("kernel_sets"), 2, "owner", {"run.kernel_sets=['" + more + "']"});
  VerifyReport report({});
  const VerifiedRun verified = open_verified(run, report);
  const Digest own = kernel_set_digest(verified.ledger.genesis().kernel_set);
  const AdmissibleKernelSets sets = admissible_kernel_sets(verified, options(run).signatures);
  EXPECT_TRUE(sets.from_opening && sets.contains(own) && sets.contains(sha256("another machine")));
  EXPECT_FALSE(admissible_kernel_sets(verified, {}).contains(sha256("another machine")));
  EXPECT_THROW(admissible_kernel_sets(verified, options(run, "stranger").signatures), Error);
  // Added later, by the owner, with the true key.
  const SignedNote opening = read_note_file(opening_path(run / "log"));
  LogOpening wider = parse_opening(opening.text, "test");
  wider.kernel_sets.push_back(sha256("a third"));
  std::sort(wider.kernel_sets.begin(), wider.kernel_sets.end());
  SignedNote forged{.text = opening_text(wider), .signatures = {}};
  sign_note(forged, kOpeningName, test_key(keys_, "owner"));
  write_file(opening_path(run / "log"), write_note(forged));
  EXPECT_THAT(verdict_of(options(run)).text, HasSubstr("FAIL  log        the log has another opening than"));
}

class SeedAttack : public KeyAttack {
 protected:
  static constexpr std::int64_t kRound = 1000000;
  const std::int64_t round_s_ = beacon_time_s("drand-quicknet", kRound);

  Keys beacon(Keys more = {}) const {
    more.insert(more.end(), {"experiment.seed=0", "experiment.beacon='drand-quicknet'",
                             fmt::format("experiment.beacon_round={}", kRound),
                             "run.beacon_value='" + std::string(64, 'a') + "'", "run.steps=1", signing("owner")});
    return more;
  }
  ContractNote said_of(const Experiment& e) const { return contract_note_of(open_contract(e).contract, "team/tiny"); }
  fs::path write_contract_note(const ContractNote& said, std::int64_t time_s, const std::string& by = "owner") const {
    SignedNote note{.text = contract_note_text(said), .signatures = {}};
    sign_note(note, kContractNoteName, test_key(keys_, by));
    cosign_note(note, "witness", test_key(keys_, "witness"), time_s);
    return write_file(keys_ / "contract.note", write_note(note));
  }
  // What the witness signed, and when it says so.
  Verdict verdict(const fs::path& run, const std::vector<RegisterEntry>& entries, std::int64_t time_s,
                  const std::string& by = "witness") const {
    SignedNote list{.text = register_list_text(entries), .signatures = {}};
    cosign_note(list, "witness", test_key(keys_, by), time_s);
    VerifyOptions asked = options(run, "owner", {"witness"});
    asked.signatures.witness_lists = {"witness=" + write_file(keys_ / "list", write_note(list)).string()};
    return verdict_of(asked);
  }
};

TEST_F(SeedAttack, OnlyAContractAloneForItsRoundIsProved) {
  const Experiment e = load(fresh_folder("noted"), beacon());
  const ContractNote said = said_of(e);
  const fs::path note = write_contract_note(said, round_s_ - 10);
  train_alone(load(e.output(), beacon({"run.contract_note='" + note.string() + "'"})));
  const RegisterEntry entry{.note = said, .time_s = round_s_ - 10};
  const Verdict honest = verdict(e.output(), {entry}, round_s_ + 5);
  EXPECT_TRUE(honest.passed) << honest.text;
  EXPECT_THAT(honest.text, AllOf(HasSubstr("ok    seed       proved: witness witness"),
                                 HasSubstr("signed 1 contracts for that round: 1 under the name team/tiny, 0 under")));
  std::printf("%s", honest.text.c_str());
  // Without the list nobody knows what else was signed.
  EXPECT_THAT(verdict_of(options(e.output(), "owner", {"witness"})).text,
              HasSubstr("note  seed       not proved: --witness-list"));
  // A list from before the round may lack what came after it.
  EXPECT_THAT(
      verdict(e.output(), {entry}, round_s_ - 1).text,
      AllOf(HasSubstr("left  seed       not proved: the list of witness witness is of"), Not(HasSubstr("FAIL"))));
  EXPECT_THAT(verdict(e.output(), {}, round_s_ + 5).text, HasSubstr("does not have this contract before the round"));
  EXPECT_THAT(verdict(e.output(), {entry}, round_s_ + 5, "stranger").text, HasSubstr("FAIL  seed"));
  // Side by side: two contracts of one name for one round.
  ContractNote second = said;
  second.contract = sha256("better luck");
  EXPECT_THAT(verdict(e.output(), {entry, {.note = second, .time_s = round_s_ - 9}}, round_s_ + 5).text,
              HasSubstr("FAIL  seed       a witness signed several contracts of this name for one round"));
  // Under several names they are counted.
  second.name = "team/other";
  const Verdict names = verdict(e.output(), {entry, {.note = second, .time_s = round_s_ - 9}}, round_s_ + 5);
  EXPECT_THAT(names.text, AllOf(HasSubstr("signed 2 contracts for that round"), HasSubstr("1 under others")));
}

TEST_F(SeedAttack, ANoteThatIsLateOrOfAnotherContractProvesNothing) {
  const Experiment e = load(fresh_folder("noted_late"), beacon());
  const ContractNote said = said_of(e);
  const fs::path note = write_contract_note(said, round_s_);
  train_alone(load(e.output(), beacon({"run.contract_note='" + note.string() + "'"})));
  EXPECT_THAT(verdict(e.output(), {{.note = said, .time_s = round_s_}}, round_s_ + 5).text,
              HasSubstr("left  seed       not proved: witness witness signed at"));
  // Another contract under the note of the first: the trainer refuses it, and so does the verifier if it is put there.
  write_contract_note(said, round_s_ - 1);
  const Keys changed = beacon({"optimizer.lr=4e-3"});
  Keys with_note = changed;
  with_note.push_back("run.contract_note='" + note.string() + "'");
  EXPECT_THROW(train_alone(load(fresh_folder("noted_other"), with_note)), Error);
  const Experiment other = load(fresh_folder("noted_other"), changed);
  train_alone(other);
  fs::copy_file(note, other.output() / "contract.note");
  EXPECT_THAT(verdict(other.output(), {{.note = said, .time_s = round_s_ - 1}}, round_s_ + 5).text,
              HasSubstr("FAIL  seed       the contract note is of another contract"));
  // The right contract, and another round than it names.
  ContractNote earlier = said_of(other);
  earlier.seed = "beacon drand-quicknet 999999";
  fs::copy_file(write_contract_note(earlier, round_s_ - 1), other.output() / "contract.note",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(verdict(other.output(), {{.note = earlier, .time_s = round_s_ - 1}}, round_s_ + 5).text,
              HasSubstr("FAIL  seed"));
  // Signed by somebody else than the owner.
  fs::copy_file(write_contract_note(said_of(other), round_s_ - 1, "stranger"), other.output() / "contract.note",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(verdict(other.output(), {{.note = said_of(other), .time_s = round_s_ - 1}}, round_s_ + 5).text,
              HasSubstr("FAIL  seed"));
}

TEST_F(SeedAttack, AWitnessRefusesASecondContractAndANoteThatLies) {
  const auto write_contract = [&](const std::string& name, const std::string& lr) {
    const std::string text = "{\"beacon\":{\"name\":\"drand-quicknet\",\"round\":1000000},\"lr\":\"" + lr + "\"}";
    return write_file(keys_ / name, text);
  };
  const auto write_note_of = [&](const fs::path& contract, const std::string& name) {
    SignedNote note{.text = contract_note_text(contract_note_of(read_text(contract), name)), .signatures = {}};
    sign_note(note, kContractNoteName, test_key(keys_, "owner"));
    return write_file(keys_ / "note", write_note(note));
  };
  const auto cosign = [&](const fs::path& contract) {
    return program({"contract", "--cosign", (keys_ / "note").string(), "--contract", contract.string(), "--key",
                    pem("witness").string(), "--name", "witness", "--register", (keys_ / "register").string()});
  };
  const fs::path a = write_contract("a.json", "1"), b = write_contract("b.json", "2");
  write_note_of(a, "team/x");
  EXPECT_EQ(cosign(b), 1) << "the note is not this contract's";
  EXPECT_THAT(output(), HasSubstr("the note does not say what the contract says"));
  EXPECT_FALSE(fs::exists(keys_ / "register"));
  ASSERT_EQ(cosign(a), 0) << output();
  ASSERT_EQ(cosign(a), 0) << "the same again";
  const std::string before = read_text(write_note_of(b, "team/x"));
  EXPECT_EQ(cosign(b), 1);
  EXPECT_THAT(output(), HasSubstr("this name has another contract for that round"));
  EXPECT_EQ(read_text(keys_ / "note"), before) << "nothing is signed";
  write_note_of(b, "team/y");
  ASSERT_EQ(cosign(b), 0) << output();
  ASSERT_EQ(program({"contract", "--list-register", (keys_ / "register").string(), "--key", pem("witness").string(),
                     "--name", "witness", "--output", (keys_ / "list").string()}),
            0)
      << output();
  const WitnessList list = read_witness_list(keys_ / "list", "witness", test_key(keys_, "witness").public_key());
  EXPECT_EQ(list.entries.size(), 3U);
  EXPECT_EQ(count_round(list.entries, contract_note_of(read_text(a), "team/x")).in_all, 2);
  EXPECT_NE(program({"contract", "--cosign", (keys_ / "note").string(), "--key", pem("witness").string(), "--name",
                     "witness"}),
            0)
      << "without a register there is no promise";
}

}  // namespace
}  // namespace baekji::tiny
