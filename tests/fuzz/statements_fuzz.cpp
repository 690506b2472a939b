// Any bytes as an envelope; and any JSON as a statement that the key has signed. An Error, or a statement that is the
// one signed.

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/untrusted_json.h"
#include "proof/attestation.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

// Of no use elsewhere: its private half stands here.
constexpr const char* kPrivateKey =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjZtsV5E+hqic9N7U\n"
    "nN/miPhF8sthUVpNdK/C4z7vrMihRANCAATvYWJ5x6tXx9/zjLhTJLRt9VPW9J1E\n"
    "sokxXtApUMmAUIreXiYFwZ1PG6yjeRUSEkdOUWzrRo1uB2pHlAaHgqy0\n"
    "-----END PRIVATE KEY-----\n";
constexpr const char* kPublicKey =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE72FiecerV8ff84y4UyS0bfVT1vSd\n"
    "RLKJMV7QKVDJgFCK3l4mBcGdTxuso3kVEhJHTlFs60aNbgdqR5QGh4KstA==\n"
    "-----END PUBLIC KEY-----\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("statements");
  static const auto key = baekji::EcdsaKey::load(folder.write("key.pem", kPrivateKey));
  static const auto public_key = baekji::EcdsaPublicKey::load(folder.write("key.pub", kPublicKey));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    (void)baekji::open_dsse(text, public_key, "input");
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  try {
    (void)baekji::open_sigstore_bundle(text, public_key, "input");
  } catch (const baekji::Error&) {
    // the same
  }
  const auto statement = baekji::try_parse_json(text);
  if (!statement) return 0;
  try {
    const std::string envelope = baekji::dsse_envelope(*statement, key).dump();
    if (baekji::open_dsse(envelope, public_key, "signed") != *statement) std::abort();
  } catch (const baekji::Error&) {
    // no statement
  }
  return 0;
}
