#include "core/ecdsa.h"

#include <openssl/err.h>

#include <array>
#include <vector>

#include "core/error.h"
#include "core/pem_key.h"

namespace baekji {
namespace {

constexpr std::string_view kCurve = "prime256v1";  // what OpenSSL calls P-256
constexpr std::string_view kMakeP256Key = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem";
constexpr std::string_view kMakeP256PublicKey = "openssl pkey -in KEY.pem -pubout -out PUBLIC.pem";

EVP_PKEY* as_key(const std::shared_ptr<void>& key) {
  return static_cast<EVP_PKEY*>(key.get());
}

std::string write_public_pem(EVP_PKEY* key) {
  const Openssl<BIO> bio(BIO_new(BIO_s_mem()));
  require_openssl(bio != nullptr && PEM_write_bio_PUBKEY(bio.get(), key) == 1, "write a public key");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::shared_ptr<void> read_p256(const PemKeyArgs& args) {
  Openssl<EVP_PKEY> key = read_pem_key(args);
  std::array<char, 64> curve{};
  std::size_t length = 0;
  const bool named = EVP_PKEY_get_group_name(key.get(), curve.data(), curve.size(), &length) == 1;
  if (!named || std::string_view(curve.data(), length) != kCurve) {
    throw Error("a key of another kind")
        .values(args.what, std::string(curve.data(), length))
        .at(args.path.string())
        .hint(args.hint);
  }
  return {key.release(), [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }};
}

}  // namespace

EcdsaPublicKey EcdsaPublicKey::load(const std::filesystem::path& path) {
  return EcdsaPublicKey(read_p256({.path = path,
                                   .is_private = false,
                                   .type = "EC",
                                   .what = "a public key on the curve P-256",
                                   .hint = kMakeP256PublicKey}));
}

bool EcdsaPublicKey::verifies(std::string_view message, std::string_view signature) const {
  const Openssl<EVP_MD_CTX> context(EVP_MD_CTX_new());
  require_openssl(context != nullptr, "begin to verify a signature");
  require_openssl(EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, as_key(key_)) == 1,
                  "begin to verify a signature");
  const int holds =
      EVP_DigestVerify(context.get(), octets(signature), signature.size(), octets(message), message.size());
  ERR_clear_error();  // a signature that does not hold leaves its reason there
  return holds == 1;
}

EcdsaKey EcdsaKey::load(const std::filesystem::path& path) {
  return EcdsaKey(
      read_p256({.path = path, .type = "EC", .what = "a private key on the curve P-256", .hint = kMakeP256Key}));
}

std::string EcdsaKey::sign(std::string_view message) const {
  const Openssl<EVP_MD_CTX> context(EVP_MD_CTX_new());
  require_openssl(context != nullptr, "begin a signature");
  require_openssl(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, as_key(key_)) == 1,
                  "begin a signature");
  std::size_t size = 0;
  require_openssl(EVP_DigestSign(context.get(), nullptr, &size, octets(message), message.size()) == 1,
                  "size a signature");
  std::vector<unsigned char> signature(size);
  require_openssl(EVP_DigestSign(context.get(), signature.data(), &size, octets(message), message.size()) == 1, "sign");
  signature.resize(size);  // it is often shorter than its bound
  return {signature.begin(), signature.end()};
}

std::string EcdsaPublicKey::pem() const {
  return write_public_pem(as_key(key_));
}

std::string EcdsaKey::public_pem() const {
  return write_public_pem(as_key(key_));
}

}  // namespace baekji
