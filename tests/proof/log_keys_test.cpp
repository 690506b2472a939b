// Who may sign a log: openings, hand-overs and revocations, true ones and those of attackers.

#include "proof/log_keys.h"

#include <functional>

#include "proof/note_file.h"
#include "tests/proof/log_fixture.h"

namespace baekji {
namespace {

class LogKeysTest : public LogTest {
 protected:
  void SetUp() override {
    LogTest::SetUp();
    ledger_ = ledger_of(60);
    log_ = folder_ / "log";
  }

  Ed25519PrivateKey key(const std::string& name) const { return test_key(folder_, name); }

  void sign_and_write(const fs::path& path, const std::string& text, std::string_view name,
                      const std::vector<std::string>& signers) const {
    SignedNote note{.text = text, .signatures = {}};
    for (const std::string& signer : signers) sign_note(note, name, key(signer));
    fs::create_directories(path.parent_path());
    write_file(path, write_note(note));
  }
  HandOver hand_over(const std::string& from, const std::string& to, std::int64_t size) const {
    return {.contract = test_contract(), .from = public_key(from), .to = public_key(to), .size = size};
  }
  void write_hand_over(std::int64_t number, const HandOver& h, const std::vector<std::string>& signers) const {
    sign_and_write(hand_over_path(log_, number), hand_over_text(h), kHandOverName, signers);
  }
  void write_revocation(const std::string& of, std::int64_t size, const std::string& by, fs::path path = {}) const {
    if (path.empty()) path = revocation_path(log_, public_key(of));
    sign_and_write(path, revocation_text({.contract = test_contract(), .key = public_key(of), .size = size}),
                   kRevocationName, {by});
  }
  void write_opening(const LogOpening& opening, const std::string& by) const {
    sign_and_write(opening_path(log_), opening_text(opening), kOpeningName, {by});
  }
  // "owner" up to 20, "second" up to 40, "third" after that: a log of 50 lines.
  void write_rotated() {
    open_log(log_, ledger_).publish(20);
    write_hand_over(1, hand_over("owner", "second", 20), {"owner", "second"});
    open_log(log_, ledger_, "second").publish(40);
    write_hand_over(2, hand_over("second", "third", 40), {"second", "third"});
    open_log(log_, ledger_, "third").publish(50);
  }
  std::string said(const LogTrust& trust) const {
    return error_of([&] { (void)verify_log(log_, ledger_, trust); });
  }
  std::string said(const std::string& name = "owner") const { return said(trust(name)); }
  void expect_refused(const std::string& why, const std::string& part) const {
    EXPECT_NE(said().find(part), std::string::npos) << why << ": " << said();
  }

  fs::path ledger_, log_;
};

TEST_F(LogKeysTest, ARotatedLogVerifiesUnderEachOfItsKeys) {
  write_rotated();
  for (const char* name : {"owner", "second", "third"}) {
    const LogReport report = verify_log(log_, ledger_, trust(name));
    EXPECT_EQ(report.signer, "key 3 of 3 (" + short_name(public_key("third")) + "), in force");
    EXPECT_EQ(report.key_files, 3);
    std::printf("%s: signed by %s; given %s\n", name, report.signer.c_str(), report.given.c_str());
  }
  EXPECT_NE(verify_log(log_, ledger_, trust()).given.find("key 1 of 3"), std::string::npos);
  EXPECT_NE(verify_log(log_, ledger_, trust()).given.find("handed over at size 20"), std::string::npos);
  EXPECT_NE(said("stranger").find("the key is none of this log's"), std::string::npos) << said("stranger");
  // Only the key in force goes on.
  for (const char* name : {"owner", "second", "stranger"}) {
    EXPECT_NE(error_of([&] { (void)open_log(log_, ledger_, name); }).find("goes on under another key"),
              std::string::npos);
  }
  open_log(log_, ledger_, "third").publish(60);
  EXPECT_EQ(said(), "");
}

TEST_F(LogKeysTest, AHandOverByOneKeyAloneIsRefused) {
  open_log(log_, ledger_).publish(20);
  for (const char* signer : {"owner", "second", "third"}) {
    write_hand_over(1, hand_over("owner", "second", 20), {signer});
    expect_refused(signer, "not signed by this key");
  }
  write_hand_over(1, hand_over("owner", "second", 20), {"owner", "second"});
  EXPECT_EQ(said(), "");
}

TEST_F(LogKeysTest, AHandOverInThePastIsRefused) {
  write_rotated();
  write_hand_over(2, hand_over("second", "third", 10), {"second", "third"});
  expect_refused("before its key took over", "a hand-over lies in the past");
  // Behind what its key has signed: the checkpoint of 50 is then by a key that was gone.
  fs::remove(hand_over_path(log_, 2));
  open_log(folder_ / "other", ledger_).publish(50);
  fs::copy_file(folder_ / "other" / "checkpoint", log_ / "checkpoint", fs::copy_options::overwrite_existing);
  expect_refused("behind what was signed", "a checkpoint is signed by a key that may not sign it");
}

TEST_F(LogKeysTest, TwoHandOversOfOneSizeAreRefused) {
  write_rotated();
  write_hand_over(2, hand_over("second", "third", 20), {"second", "third"});
  expect_refused("the same size", "a hand-over lies in the past");
}

TEST_F(LogKeysTest, HandOversSkipNoNumberAndBringBackNoKey) {
  write_rotated();
  fs::rename(hand_over_path(log_, 2), hand_over_path(log_, 3));
  expect_refused("a gap", "numbered without a gap");
  fs::remove(hand_over_path(log_, 3));
  write_hand_over(2, hand_over("second", "owner", 40), {"second", "owner"});
  expect_refused("a key that was there", "a key cannot come back");
  write_hand_over(2, hand_over("second", "second", 40), {"second"});
  expect_refused("to itself", "a key cannot come back");
  write_hand_over(2, hand_over("owner", "third", 40), {"owner", "third"});
  expect_refused("by a key that was replaced", "a key hands over that is not in force");
}

TEST_F(LogKeysTest, AHandOverToComeSaysThatTheLogWasCut) {
  write_rotated();
  // The owner puts back the checkpoint of an earlier day.
  open_log(folder_ / "other", ledger_).publish(20);
  fs::copy_file(folder_ / "other" / "checkpoint", log_ / "checkpoint", fs::copy_options::overwrite_existing);
  expect_refused("a shorter log", "behind the end of the log");
  EXPECT_NE(error_of([&] { (void)open_log(log_, ledger_, "third"); }).find("behind the end of the log"),
            std::string::npos);
}

TEST_F(LogKeysTest, NotesOfAnotherContractAreRefused) {
  write_rotated();
  const std::string good = files_.read(opening_path(log_));
  LogOpening opening{.contract = sha256("another"), .key = public_key(), .kernel_sets = {sha256("k")}};
  write_opening(opening, "owner");
  expect_refused("opening", "the opening is of another contract");
  write_file(opening_path(log_), good);
  HandOver other = hand_over("second", "third", 40);
  other.contract = sha256("another");
  write_hand_over(2, other, {"second", "third"});
  expect_refused("hand-over", "of another contract");
  write_hand_over(2, hand_over("second", "third", 40), {"second", "third"});
  sign_and_write(revocation_path(log_, public_key()),
                 revocation_text({.contract = sha256("another"), .key = public_key(), .size = 20}), kRevocationName,
                 {"owner"});
  expect_refused("revocation", "of another contract");
}

// An opening that admits one kernel set more, signed by the true key: every checkpoint says which one it was.
TEST_F(LogKeysTest, AnOpeningThatIsExchangedLaterIsRefused) {
  write_rotated();
  LogOpening opening{.contract = test_contract(), .key = public_key(), .kernel_sets = {sha256("kernel set c")}};
  write_opening(opening, "owner");
  expect_refused("exchanged", "another opening than its checkpoint says");
  write_opening(opening, "second");
  expect_refused("signed by a later key", "not signed by this key");
  fs::remove(opening_path(log_));
  expect_refused("gone", "the log has no opening");
  EXPECT_NE(error_of([&] { (void)open_log(log_, ledger_, "third"); }).find("the log has no opening"),
            std::string::npos);
}

TEST_F(LogKeysTest, ARevokedKeySignsNothingBeyond) {
  write_rotated();
  write_revocation("third", 49, "third");
  expect_refused("the checkpoint", "a checkpoint is signed by a key that may not sign it");
  write_revocation("third", 50, "third");
  EXPECT_NE(verify_log(log_, ledger_, trust()).signer.find("revoked beyond size 50"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)open_log(log_, ledger_, "third"); }).find("the key of the log is revoked"),
            std::string::npos);
  // It may still hand over what it signed, and no more.
  write_hand_over(3, hand_over("third", "fourth", 50), {"third", "fourth"});
  EXPECT_EQ(said(), "");
  open_log(log_, ledger_, "fourth").publish(60);
  EXPECT_EQ(said("fourth"), "");
}

TEST_F(LogKeysTest, ARevokedKeyHandsNothingOver) {
  write_rotated();
  write_revocation("second", 39, "third");
  expect_refused("beyond its end", "a key was handed over that is revoked");
  write_revocation("second", 40, "third");
  EXPECT_EQ(said(), "");
}

TEST_F(LogKeysTest, RevocationsAreOfKnownKeysByThoseWhoMay) {
  write_rotated();
  write_revocation("second", 40, "owner");
  expect_refused("by an earlier key", "signed by nobody who may");
  write_revocation("second", 40, "stranger");
  expect_refused("by a stranger", "signed by nobody who may");
  fs::remove_all(log_ / "revoked");
  write_revocation("stranger", 40, "stranger");
  expect_refused("of a stranger", "of a key that this log never had");
  fs::remove_all(log_ / "revoked");
  write_revocation("second", 40, "third", revocation_path(log_, public_key("owner")));
  expect_refused("under another's name", "under the name of another key");
  fs::remove_all(log_ / "revoked");
  write_file(log_ / "keys" / "stranger", "x");
  expect_refused("a file that is no hand-over", "numbered without a gap");
}

// The owner takes a revocation out of the folder; whoever was told keeps it.
TEST_F(LogKeysTest, ARevocationThatTheFolderLacksIsGivenToTheVerifier) {
  write_rotated();
  const fs::path kept = folder_ / "revocation";
  LogTrust trusting = trust("second");
  trusting.revocations = {kept};
  write_revocation("second", 30, "third", kept);
  EXPECT_NE(said(trusting).find("a key was handed over that is revoked"), std::string::npos) << said(trusting);
  write_revocation("third", 45, "third", kept);
  EXPECT_NE(said(trusting).find("may not sign it"), std::string::npos) << said(trusting);
  write_revocation("third", 50, "third", kept);
  EXPECT_EQ(said(trusting), "");
  // Of two the smaller size holds.
  write_revocation("third", 45, "third", kept);
  write_revocation("third", 55, "third");
  EXPECT_NE(said(trusting).find("may not sign it"), std::string::npos) << said(trusting);
  write_revocation("stranger", 45, "stranger", kept);
  EXPECT_NE(said(trusting).find("this log never had"), std::string::npos) << said(trusting);
}

TEST_F(LogKeysTest, AKeptCheckpointIsHeldAgainstTheKeysOfItsSize) {
  open_log(log_, ledger_).publish(20);
  fs::copy_file(log_ / "checkpoint", folder_ / "kept20");
  write_hand_over(1, hand_over("owner", "second", 20), {"owner", "second"});
  open_log(log_, ledger_, "second").publish(40);
  for (const char* name : {"owner", "second"})
    EXPECT_EQ(verify_checkpoint(folder_ / "kept20", log_, ledger_, trust(name)).checkpoint.head.size, 20);
  // The old key signs on after it was replaced.
  open_log(folder_ / "other", ledger_).publish(30);
  EXPECT_NE(error_of([&] {
              (void)verify_checkpoint(folder_ / "other" / "checkpoint", log_, ledger_, trust());
            }).find("may not sign it"),
            std::string::npos);
  // Both at once: the signature of the one that may does not excuse the other.
  SignedNote both = read_note_file(log_ / "checkpoint");
  sign_note(both, log_origin(test_contract()), key("owner"));
  write_file(log_ / "checkpoint", write_note(both));
  expect_refused("two keys", "may not sign it");
}

TEST_F(LogKeysTest, TextsHaveOneSpelling) {
  const LogOpening opening{.contract = test_contract(), .key = public_key(), .kernel_sets = {sha256("a")}};
  const std::string good = opening_text(opening);
  EXPECT_EQ(parse_opening(good, "test").kernel_sets, opening.kernel_sets);
  const std::string set = "kernel_set " + to_hex(sha256("a")) + "\n";
  const std::string low = "kernel_set " + std::string(64, '0') + "\n";
  const std::string bare = good.substr(0, good.find("kernel_set"));
  for (const std::string& text : {std::string(), bare, good + set, good + low, good + "\n", good + "more\n",
                                  bare + set.substr(0, set.size() - 1), bare + "kernel_set x\n", "x" + good})
    EXPECT_THROW(parse_opening(text, "test"), Error) << text;
  const std::string hand = hand_over_text(hand_over("owner", "second", 20));
  EXPECT_EQ(parse_hand_over(hand, "test").size, 20);
  const std::string no_size = hand.substr(0, hand.size() - 3);
  for (const char* size : {"0\n", "-1\n", "020\n", "+20\n", "20", "20 \n", "99999999999999999999\n", "20\n\n", "x\n"})
    EXPECT_THROW(parse_hand_over(no_size + size, "test"), Error) << size;
  const std::string revoked = revocation_text({.contract = test_contract(), .key = public_key(), .size = 0});
  EXPECT_EQ(parse_revocation(revoked, "test").key, public_key());
  for (const char* size : {"-1\n", "00\n", "0", "\n", "0\n0\n"})
    EXPECT_THROW(parse_revocation(revoked.substr(0, revoked.size() - 2) + size, "test"), Error) << size;
  for (const char* path : {"opening", "keys/0001", "keys/9999", "revoked/00ff00ff"}) EXPECT_TRUE(is_key_file(path));
  for (const char* path : {"openings", "keys/001", "keys/00011", "keys/000x", "keys/", "revoked/00ff00f",
                           "revoked/00FF00FF", "revoked/00ff00ff/x", "key/0001"})
    EXPECT_FALSE(is_key_file(path)) << path;
}

TEST_F(LogKeysTest, OneFlippedBitInAnyNoteIsFound) {
  write_rotated();
  write_revocation("owner", 20, "second");
  EXPECT_EQ(said(), "");
  int flips = 0;
  for (const fs::path& path :
       {opening_path(log_), hand_over_path(log_, 1), hand_over_path(log_, 2), revocation_path(log_, public_key())}) {
    const std::string good = files_.read(path);
    for (std::size_t byte = 0; byte < good.size(); byte += 5) {
      std::string bad = good;
      bad[byte] = static_cast<char>(bad[byte] ^ 1);
      write_file(path, bad);
      EXPECT_NE(said("third"), "") << path << " byte " << byte;
      ++flips;
    }
    write_file(path, good);
  }
  std::printf("%d flipped bits of opening, hand-overs and revocation found\n", flips);
}

TEST_F(LogKeysTest, AdmissibleKernelSetsAreThoseOfTheOpening) {
  const Digest genesis = sha256("genesis");
  const auto sets = [&](const std::optional<Ed25519PublicKey>& owner) {
    return admissible_kernel_sets(log_, test_contract(), genesis, owner);
  };
  EXPECT_TRUE(sets({}).contains(genesis));
  EXPECT_FALSE(sets({}).from_opening);
  EXPECT_THROW(sets(public_key()), Error) << "no log";
  write_rotated();
  EXPECT_TRUE(sets(public_key("third")).contains(sha256("kernel set a")));
  EXPECT_FALSE(sets(public_key("third")).contains(genesis));
  EXPECT_FALSE(sets({}).contains(sha256("kernel set a"))) << "nobody vouches for it";
  EXPECT_THROW(sets(public_key("stranger")), Error);
}

}  // namespace
}  // namespace baekji
