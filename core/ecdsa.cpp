#include "core/ecdsa.h"

#include <array>
#include <vector>

#include "core/error.h"
#include "core/pem_key.h"

namespace baekji {
namespace {

constexpr std::string_view kCurve = "prime256v1";  // what OpenSSL calls P-256
constexpr std::string_view kMakeKey = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem";

EVP_PKEY* as_key(const std::shared_ptr<void>& key) {
  return static_cast<EVP_PKEY*>(key.get());
}

}  // namespace

EcdsaKey EcdsaKey::load(const std::filesystem::path& path) {
  Openssl<EVP_PKEY> key =
      read_pem_key({.path = path, .type = "EC", .what = "a private key on the curve P-256", .hint = kMakeKey});
  std::array<char, 64> curve{};
  std::size_t length = 0;
  const bool named = EVP_PKEY_get_group_name(key.get(), curve.data(), curve.size(), &length) == 1;
  if (!named || std::string_view(curve.data(), length) != kCurve) {
    throw Error("a key of another kind")
        .values("a private key on the curve P-256", std::string(curve.data(), length))
        .at(path.string())
        .hint(kMakeKey);
  }
  return EcdsaKey(std::shared_ptr<void>(key.release(), [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }));
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

std::string EcdsaKey::public_pem() const {
  const Openssl<BIO> bio(BIO_new(BIO_s_mem()));
  require_openssl(bio != nullptr && PEM_write_bio_PUBKEY(bio.get(), as_key(key_)) == 1, "write a public key");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

}  // namespace baekji
