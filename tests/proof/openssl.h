#pragma once
// The stock openssl command: makes keys for tests, and checks what we sign without our code.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace baekji {

class OpensslTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("openssl version > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no openssl command here";
    const auto* const info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("baekji_openssl_" + std::string(info->name()) + "_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    ASSERT_TRUE(openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"));
    ASSERT_TRUE(openssl("pkey -in key.pem -pubout -out pub.pem"));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// Runs it in the test's folder.
  bool openssl(const std::string& arguments) const {
    return std::system(("cd '" + folder_.string() + "' && openssl " + arguments + " > openssl.log 2>&1").c_str()) == 0;
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Whether `signature` (DER) is the key's over the message.
  bool verifies(const std::string& message, const std::string& signature) const {
    write("message", message);
    write("signature", signature);
    return openssl("dgst -sha256 -verify pub.pem -signature signature message");
  }
  std::string decode_base64(const std::string& text) const {
    write("base64", text + "\n");
    EXPECT_TRUE(openssl("base64 -d -A -in base64 -out bytes"));
    return read("bytes");
  }
  /// The payload of an envelope whose signature is good; empty when it is not.
  std::string open_envelope(const nlohmann::json& envelope) const {
    const std::string payload = decode_base64(envelope.at("payload"));
    const std::string type = envelope.at("payloadType");
    const std::string signed_bytes =
        "DSSEv1 " + std::to_string(type.size()) + " " + type + " " + std::to_string(payload.size()) + " " + payload;
    return verifies(signed_bytes, decode_base64(envelope.at("signatures").at(0).at("sig"))) ? payload : "";
  }

  std::filesystem::path folder_;
};

}  // namespace baekji
