#include "core/ed25519.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/key_files.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

class Ed25519Test : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              fmt::format("ed25519_{}_{}", getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_F(Ed25519Test, Rfc8032Vectors) {
  struct Case {
    const char *seed, *public_key, *message, *signature;
  };
  const Case cases[] = {{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
                         "46bd25bf5f0595bbe24"
                         "655141438e7a100b"},
                        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
                         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
                         "d8c387b2eaeb4302aee"
                         "b00d291612bb0c00"},
                        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
                         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc"
                         "6594a7c15e9716ed28d"
                         "c027beceea1ec40a"}};
  for (const Case& c : cases) {
    const auto key = Ed25519PrivateKey::read(write_private_key(folder_ / "key.pem", from_hex(c.seed)));
    EXPECT_EQ(as_text(key.public_key().bytes), from_hex(c.public_key));
    const std::string message = from_hex(c.message);
    Ed25519Signature signature = key.sign(message);
    EXPECT_EQ(as_text(signature), from_hex(c.signature));
    EXPECT_TRUE(signature_holds(key.public_key(), message, signature));
    EXPECT_FALSE(signature_holds(key.public_key(), message + "x", signature));
    for (std::size_t bit = 0; bit < 512; ++bit) {
      signature[bit / 8] = static_cast<std::uint8_t>(signature[bit / 8] ^ (1U << (bit % 8)));
      ASSERT_FALSE(signature_holds(key.public_key(), message, signature)) << "bit " << bit;
      signature[bit / 8] = static_cast<std::uint8_t>(signature[bit / 8] ^ (1U << (bit % 8)));
    }
    EXPECT_EQ(read_public_key(write_public_key(folder_ / "key.pub", key.public_key())), key.public_key());
  }
  std::printf("%zu vectors of RFC 8032, and each of 512 bits of their signatures flipped\n", std::size(cases));
}

TEST_F(Ed25519Test, WhatIsNoKeyIsNamed) {
  const auto key = test_key(folder_, "good");
  write_public_key(folder_ / "public.pem", key.public_key());
  write_file(folder_ / "empty.pem", "");
  write_file(folder_ / "text.pem", "-----BEGIN PRIVATE KEY-----\nnot base64!\n-----END PRIVATE KEY-----\n");
  write_private_key(folder_ / "short.pem", "too short");
  struct Case {
    const char *file, *private_says, *public_says;
  };
  std::vector<Case> cases{{"none.pem", "there is no key file", "there is no key file"},
                          {"empty.pem", "not a key file", "not a key file"},
                          {"text.pem", "not a key file", "the other half"},
                          {"short.pem", "not a key file", "the other half"},
                          {"public.pem", "the other half", ""},
                          {"good.pem", "", "the other half"}};
  if (has_openssl_program()) {
    const std::string in = "cd '" + folder_.string() + "' && ";
    ASSERT_EQ(0, std::system((in + "openssl genpkey -algorithm ed25519 -aes256 -pass pass:x -out locked.pem").c_str()));
    ASSERT_EQ(0, std::system((in + "openssl genpkey -algorithm x25519 -out other.pem").c_str()));
    ASSERT_EQ(0, std::system((in + "openssl pkey -in other.pem -pubout -out other.pub").c_str()));
    ASSERT_EQ(0, std::system((in + "openssl genpkey -algorithm ed25519 -out stock.pem").c_str()));
    ASSERT_EQ(0, std::system((in + "openssl pkey -in stock.pem -pubout -out stock.pub").c_str()));
    cases.push_back({"locked.pem", "encrypted", "the other half"});
    cases.push_back({"other.pem", "another kind", "the other half"});
    cases.push_back({"other.pub", "the other half", "another kind"});
    EXPECT_EQ(Ed25519PrivateKey::read(folder_ / "stock.pem").public_key(), read_public_key(folder_ / "stock.pub"));
  }
  const auto said = [](const auto& read) -> std::string {
    try {
      read();
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  for (const Case& c : cases) {
    const fs::path file = folder_ / c.file;
    const std::string as_private = said([&] { (void)Ed25519PrivateKey::read(file); });
    const std::string as_public = said([&] { (void)read_public_key(file); });
    EXPECT_EQ(as_private.empty(), std::string(c.private_says).empty()) << c.file << ": " << as_private;
    EXPECT_EQ(as_public.empty(), std::string(c.public_says).empty()) << c.file << ": " << as_public;
    EXPECT_NE(as_private.find(c.private_says), std::string::npos) << c.file << ": " << as_private;
    EXPECT_NE(as_public.find(c.public_says), std::string::npos) << c.file << ": " << as_public;
    if (as_private.empty()) continue;
    EXPECT_NE(as_private.find(file.string()), std::string::npos) << as_private;
  }
  std::printf("%zu files, read as private and as public keys\n", cases.size());
}

}  // namespace
}  // namespace baekji
