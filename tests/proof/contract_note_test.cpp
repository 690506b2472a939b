// The contract note, what a witness registers, and what its list is worth.

#include "proof/contract_note.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "proof/note_file.h"
#include "tests/key_files.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBeaconContract = R"({"beacon":{"name":"drand-quicknet","round":1000},"lr":"1"})";
constexpr const char* kOtherContract = R"({"beacon":{"name":"drand-quicknet","round":1000},"lr":"2"})";
constexpr const char* kLaterContract = R"({"beacon":{"name":"drand-quicknet","round":1001},"lr":"2"})";
constexpr const char* kSeedContract = R"({"lr":"1","seed":5})";

class ContractNoteTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / fmt::format("contract_note_{}_{}", getpid(),
                                                         testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  SignedNote note_of(const std::string& text, bool owner = true) const {
    SignedNote note{.text = text, .signatures = {}};
    if (owner)
      sign_note(note, kContractNoteName, test_key(folder_, "owner"));
    else
      cosign_note(note, "w", test_key(folder_, "w"), 5);
    return note;
  }
  fs::path write_list(const std::string& text, std::int64_t time_s, const std::string& key = "w") const {
    SignedNote note{.text = text, .signatures = {}};
    cosign_note(note, "w", test_key(folder_, key), time_s);
    return write_file(folder_ / "list", write_note(note));
  }
  WitnessList read_list() const {
    return read_witness_list(folder_ / "list", "w", test_key(folder_, "w").public_key());
  }

  fs::path folder_;
};

TEST_F(ContractNoteTest, SaysContractNameAndSeedInOneSpelling) {
  const ContractNote note = contract_note_of(kBeaconContract, "team/model-1");
  const std::string digest = to_hex(sha256(kBeaconContract));
  const std::string good = contract_note_text(note);
  EXPECT_EQ(good, "baekji/contract/v2\n" + digest + "\nteam/model-1\nbeacon drand-quicknet 1000\n");
  EXPECT_EQ(parse_contract_note(note_of(good), "test"), note);
  EXPECT_EQ(contract_note_of(kSeedContract, "x").seed, "seed");
  EXPECT_THROW(parse_contract_note(note_of(good, false), "test"), Error) << "a witness alone";
  const std::string head = "baekji/contract/v2\n" + digest + "\n";
  const std::string bad[] = {"baekji/contract\n" + digest + "\n",
                             head,
                             head + "x\n",
                             head + "x\nseed\nmore\n",
                             head + "x\nbeacon drand-quicknet 01000\n",
                             head + "x\nbeacon drand-quicknet 0\n",
                             head + "x\nbeacon drand-quicknet\n",
                             head + "x\nbeacon  1000\n",
                             head + "x\nbeacon a b 1000\n",
                             head + "two words\nseed\n",
                             head + "\nseed\n",
                             head + std::string(129, 'x') + "\nseed\n",
                             "baekji/contract/v2\n" + std::string(64, 'X') + "\nx\nseed\n"};
  for (const std::string& text : bad) EXPECT_THROW(parse_contract_note(note_of(text), "test"), Error) << text;
  for (const char* name : {"", "two words", "\xEB\xB0\xB1", "a\nb", "a:b"})
    EXPECT_THROW(contract_note_of(kBeaconContract, name), Error) << name;
  for (const char* contract : {"{}", "[]", R"({"beacon":{}})", R"({"beacon":{"name":"a b","round":3}})",
                               R"({"beacon":{"name":"drand-quicknet","round":0}})"})
    EXPECT_THROW(contract_note_of(contract, "x"), Error) << contract;
}

TEST_F(ContractNoteTest, AWitnessServesOneContractForANameAndARound) {
  const fs::path file = folder_ / "register" / "entries.jsonl";
  const auto take = [&](const char* contract, const std::string& name, std::int64_t time_s) {
    register_note(file, {.note = contract_note_of(contract, name), .time_s = time_s});
  };
  take(kBeaconContract, "team/x", 100);
  take(kBeaconContract, "team/x", 101);  // the same again
  EXPECT_THROW(take(kOtherContract, "team/x", 102), Error) << "side by side";
  take(kOtherContract, "team/y", 102);  // another name: listed, for whoever counts
  take(kLaterContract, "team/x", 103);  // another round
  take(kSeedContract, "team/x", 104);
  EXPECT_THROW(take(kLaterContract, "team/z", 103), Error) << "a clock that goes back";
  const auto entries = read_register(file);
  ASSERT_EQ(entries.size(), 5U);
  const RoundCount count = count_round(entries, contract_note_of(kBeaconContract, "team/x"));
  EXPECT_EQ(count.of_name, 1);
  EXPECT_EQ(count.in_all, 2);
  EXPECT_EQ(count_round(entries, contract_note_of(kSeedContract, "team/x")).in_all, 0) << "no round, no count";
  write_list(register_list_text(entries), 104);
  const WitnessList list = read_list();
  EXPECT_EQ(list.time_s, 104);
  ASSERT_EQ(list.entries.size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(list.entries[i].note, entries[i].note);
  // The register is the witness's word: what does not read back is not passed over.
  const std::string good = posix_file_system().read(file);
  for (const std::string& bad : {good + "{}\n", good + "x", good.substr(0, good.size() - 1), "\n" + good,
                                 good + good.substr(0, good.find('\n') + 1)}) {
    write_file(file, bad);
    EXPECT_THROW(read_register(file), Error);
  }
}

TEST_F(ContractNoteTest, AListIsTheWitnesssAlone) {
  const RegisterEntry entry{.note = contract_note_of(kBeaconContract, "team/x"), .time_s = 100};
  const std::string good = register_list_text(std::span(&entry, 1));
  write_list(good, 100);
  EXPECT_EQ(read_list().entries.size(), 1U);
  write_list(good, 100, "another");
  EXPECT_THROW(read_list(), Error) << "another key";
  write_list(good, 99);
  EXPECT_THROW(read_list(), Error) << "it tells of the future";
  const std::string line = good.substr(good.find('\n') + 1);
  for (const std::string& text : {std::string("baekji/witness-register/v2\n") + line, good + "\n", good + "0" + line,
                                  good + "99" + line.substr(3), good + line.substr(4), good + "100 x y seed\n"}) {
    write_list(text, 200);
    EXPECT_THROW(read_list(), Error) << text;
  }
  write_list("baekji/witness-register/v1\n", 200);
  EXPECT_TRUE(read_list().entries.empty());
}

}  // namespace
}  // namespace baekji
