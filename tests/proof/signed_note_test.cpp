#include "proof/signed_note.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "core/base64.h"
#include "core/error.h"
#include "tests/key_files.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

class SignedNoteTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              fmt::format("note_{}_{}", getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  SignedNote sample() {
    SignedNote note{.text = "baekji/log\n17\n\nmore\n", .signatures = {}};
    sign_note(note, "baekji/log", test_key(folder_, "owner"));
    cosign_note(note, "witness.example/w1", test_key(folder_, "witness"), 1700000000);
    return note;
  }

  fs::path folder_;
};

// The example of Go's package golang.org/x/mod/sumdb/note, which the C2SP format comes from.
TEST_F(SignedNoteTest, ANoteOfAnotherProgramHolds) {
  const std::string bytes =
      "If you think cryptography is the answer to your problem,\n"
      "then you don't know what your problem is.\n"
      "\n"
      "\xE2\x80\x94 PeterNeumann "
      "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
  const std::string key_bytes = decode_base64("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").value().substr(1);
  Ed25519PublicKey key;
  std::transform(key_bytes.begin(), key_bytes.end(), key.bytes.begin(),
                 [](char c) { return static_cast<std::uint8_t>(c); });
  EXPECT_EQ(owner_key_id("PeterNeumann", key), (KeyId{0xc7, 0x4f, 0x20, 0xa3}));
  const SignedNote note = parse_note(bytes, "test");
  verify_note(note, "PeterNeumann", key, "test");
  EXPECT_EQ(write_note(note), bytes);
  std::printf("key id, signature and bytes of a note that Go's package made\n");
}

TEST_F(SignedNoteTest, SignsAndCosignsAndReadsBack) {
  const auto owner = test_key(folder_, "owner");
  const auto witness = test_key(folder_, "witness");
  SignedNote note = sample();
  const SignedNote again = parse_note(write_note(note), "test");
  EXPECT_EQ(again.text, note.text);
  ASSERT_EQ(again.signatures.size(), 2U);
  verify_note(again, "baekji/log", owner.public_key(), "test");
  EXPECT_EQ(verify_cosignature(again, "witness.example/w1", witness.public_key(), "test"), 1700000000);
  // A key has one signature on a note; a later one takes its place.
  cosign_note(note, "witness.example/w1", witness, 1700000005);
  sign_note(note, "baekji/log", owner);
  EXPECT_EQ(note.signatures.size(), 2U);
  EXPECT_EQ(verify_cosignature(note, "witness.example/w1", witness.public_key(), "test"), 1700000005);
  // Two of one key, put together by somebody else: the earliest time counts.
  note.signatures.insert(note.signatures.end(), again.signatures.begin(), again.signatures.end());
  EXPECT_EQ(verify_cosignature(note, "witness.example/w1", witness.public_key(), "test"), 1700000000);
  EXPECT_THROW(cosign_note(note, "w", witness, -1), Error);
  std::printf("%s", write_note(again).c_str());
}

TEST_F(SignedNoteTest, OpensslVerifiesBothKindsOfSignature) {
  if (!has_openssl_program()) GTEST_SKIP() << "the openssl program is not installed";
  const SignedNote note = parse_note(write_note(sample()), "test");
  const auto owner = test_key(folder_, "owner").public_key();
  const auto witness = test_key(folder_, "witness").public_key();
  EXPECT_TRUE(openssl_agrees(folder_, owner, note.text, note.signatures[0].bytes));
  EXPECT_FALSE(openssl_agrees(folder_, owner, note.text + "x", note.signatures[0].bytes));
  EXPECT_EQ(note.signatures[1].bytes.substr(0, 8), from_hex("000000006553f100"));
  const std::string message = "cosignature/v1\ntime 1700000000\n" + note.text;
  EXPECT_TRUE(openssl_agrees(folder_, witness, message, note.signatures[1].bytes.substr(8)));
  EXPECT_FALSE(openssl_agrees(folder_, owner, message, note.signatures[1].bytes.substr(8)));
  // Key ids, from the document's words.
  const Digest owner_id = sha256(std::string("baekji/log\n\x01", 12) + as_text(owner.bytes));
  const Digest witness_id = sha256(std::string("witness.example/w1\n\x04", 20) + as_text(witness.bytes));
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(note.signatures[0].key_id[i], owner_id[i]);
    EXPECT_EQ(note.signatures[1].key_id[i], witness_id[i]);
  }
  std::printf("openssl pkeyutl -verify -rawin agrees on an owner's and a witness's signature, and on 2 false ones\n");
}

TEST_F(SignedNoteTest, AnyFlippedBitIsFound) {
  const auto owner = test_key(folder_, "owner").public_key();
  const auto witness = test_key(folder_, "witness").public_key();
  std::string bytes = write_note(sample());
  std::size_t flips = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto flip = [&] { bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8))); };
    flip();
    const auto verify = [&] {
      const SignedNote note = parse_note(bytes, "test");
      verify_note(note, "baekji/log", owner, "test");
      (void)verify_cosignature(note, "witness.example/w1", witness, "test");
    };
    EXPECT_THROW(verify(), Error) << "bit " << bit % 8 << " of byte " << bit / 8;
    flip();
    flips += 1;
  }
  std::printf("%zu flipped bits of a note of %zu bytes found\n", flips, bytes.size());
}

TEST_F(SignedNoteTest, MalformedNotesAndNamesAreRefused) {
  const std::string line = "\xE2\x80\x94 name AAAAAAA=\n";
  const std::string whole = "text\n\n" + line;
  EXPECT_EQ(parse_note(whole, "test").signatures[0].name, "name");
  const std::string bad[] = {"",
                             "text\n",
                             "text\n\n",
                             "text\n" + line,
                             "text\n\n" + line.substr(0, line.size() - 1),
                             "text\n\n" + line + "\n",
                             "text\n\n" + line + "more\n",
                             "te\txt\n\n" + line,
                             "te\x7Fxt\n\n" + line,
                             "te\xFFxt\n\n" + line,
                             "text\n\n- name AAAAAAA=\n",
                             "text\n\n\xE2\x80\x94 name  AAAAAAA=\n",
                             "text\n\n\xE2\x80\x94 name AAAAAAA= \n",
                             "text\n\n\xE2\x80\x94 name AAAA\n",
                             "text\n\n\xE2\x80\x94 name AAAAAA==\n",
                             "text\n\n\xE2\x80\x94 name AAAAAAA\n",
                             "text\n\n\xE2\x80\x94 na+me AAAAAAA=\n",
                             "text\n\n\xE2\x80\x94  AAAAAAA=\n",
                             "text\n\n\xE2\x80\x94 AAAAAAA=\n",
                             "\n\n\n"};
  for (const std::string& bytes : bad) EXPECT_THROW(parse_note(bytes, "test"), Error) << bytes;
  const auto key = test_key(folder_, "owner");
  SignedNote note{.text = "text\n", .signatures = {}};
  EXPECT_THROW(write_note(note), Error) << "no signature";
  for (const char* name : {"", "two words", "a+b", "tab\t", "new\nline", "\xFF"})
    EXPECT_THROW(sign_note(note, name, key), Error) << name;
  note.text = "no newline";
  EXPECT_THROW(sign_note(note, "name", key), Error);
  std::printf("%zu malformed notes refused\n", std::size(bad));
}

TEST_F(SignedNoteTest, AnotherKeyOrNameIsNotThisOne) {
  const SignedNote note = sample();
  const auto owner = test_key(folder_, "owner").public_key();
  const auto witness = test_key(folder_, "witness").public_key();
  EXPECT_THROW(verify_note(note, "baekji/log", witness, "test"), Error);
  EXPECT_THROW(verify_note(note, "baekji/other", owner, "test"), Error);
  EXPECT_THROW(verify_note(note, "witness.example/w1", witness, "test"), Error) << "a witness is no owner";
  EXPECT_THROW(verify_cosignature(note, "baekji/log", owner, "test"), Error) << "an owner is no witness";
  try {
    verify_note(note, "baekji/log", witness, "the note");
    FAIL();
  } catch (const Error& error) {
    for (const char* part : {"not signed by this key", "the note", "key id"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    std::printf("%s\n", error.what());
  }
}

}  // namespace
}  // namespace baekji
