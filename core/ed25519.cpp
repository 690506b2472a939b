#include "core/ed25519.h"

#include <openssl/err.h>

#include "core/pem_key.h"

namespace baekji {
namespace {

constexpr std::string_view kMakePrivateKey = "openssl genpkey -algorithm ed25519 -out KEY.pem";
constexpr std::string_view kMakePublicKey = "openssl pkey -in KEY.pem -pubout -out PUBLIC.pem";

Openssl<EVP_PKEY> read_key(const std::filesystem::path& path, bool is_private) {
  return read_pem_key({.path = path,
                       .is_private = is_private,
                       .type = "ED25519",
                       .what = is_private ? "an Ed25519 private key" : "an Ed25519 public key",
                       .hint = is_private ? kMakePrivateKey : kMakePublicKey});
}

Ed25519PublicKey public_half(const EVP_PKEY* key) {
  Ed25519PublicKey half;
  std::size_t size = half.bytes.size();
  require_openssl(EVP_PKEY_get_raw_public_key(key, half.bytes.data(), &size) == 1 && size == half.bytes.size(),
                  "take the public half of a key");
  return half;
}

}  // namespace

Ed25519PublicKey read_public_key(const std::filesystem::path& path) {
  return public_half(read_key(path, false).get());
}

bool signature_holds(const Ed25519PublicKey& key, std::string_view message, const Ed25519Signature& signature) {
  const Openssl<EVP_PKEY> openssl_key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.bytes.data(), key.bytes.size()));
  require_openssl(openssl_key != nullptr, "take a public key");
  const Openssl<EVP_MD_CTX> context(EVP_MD_CTX_new());
  require_openssl(context != nullptr, "begin to verify a signature");
  require_openssl(EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, openssl_key.get()) == 1,
                  "begin to verify a signature");
  const int holds =
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), octets(message), message.size());
  ERR_clear_error();  // a signature that does not hold leaves its reason there
  return holds == 1;
}

void Ed25519PrivateKey::Free::operator()(void* key) const {
  EVP_PKEY_free(static_cast<EVP_PKEY*>(key));
}

Ed25519PrivateKey Ed25519PrivateKey::read(const std::filesystem::path& path) {
  Ed25519PrivateKey result;
  Openssl<EVP_PKEY> key = read_key(path, true);
  result.public_key_ = public_half(key.get());
  result.key_.reset(key.release());
  return result;
}

Ed25519Signature Ed25519PrivateKey::sign(std::string_view message) const {
  const Openssl<EVP_MD_CTX> context(EVP_MD_CTX_new());
  require_openssl(context != nullptr, "begin a signature");
  require_openssl(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, static_cast<EVP_PKEY*>(key_.get())) == 1,
                  "begin a signature");
  Ed25519Signature signature{};
  std::size_t size = signature.size();
  require_openssl(EVP_DigestSign(context.get(), signature.data(), &size, octets(message), message.size()) == 1 &&
                      size == signature.size(),
                  "sign");
  return signature;
}

}  // namespace baekji
