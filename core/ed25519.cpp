#include "core/ed25519.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <string>

#include "core/error.h"
#include "core/file_system.h"
#include "core/types.h"

namespace baekji {
namespace {

struct FreeOpenssl {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
template <class T>
using Openssl = std::unique_ptr<T, FreeOpenssl>;

void require_openssl(bool ok, const char* action) {
  if (!ok) throw Error(fmt::format("OpenSSL could not {}", action));
}

const unsigned char* octets(std::string_view bytes) {
  return static_cast<const unsigned char*>(static_cast<const void*>(bytes.data()));
}

// What OpenSSL calls for a password: there is none, and nobody at a run to type one.
int note_encryption(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

constexpr std::string_view kMakePrivateKey = "openssl genpkey -algorithm ed25519 -out KEY.pem";
constexpr std::string_view kMakePublicKey = "openssl pkey -in KEY.pem -pubout -out PUBLIC.pem";

Openssl<EVP_PKEY> read_key(const std::filesystem::path& path, bool is_private) {
  const std::string kind = is_private ? "an Ed25519 private key" : "an Ed25519 public key";
  const std::string_view hint = is_private ? kMakePrivateKey : kMakePublicKey;
  if (!posix_file_system().exists(path))
    throw Error("there is no key file").values(kind + ", as PEM", "no file").at(path.string()).hint(hint);
  const std::string pem = posix_file_system().read(path);
  const bool holds_private = pem.find("PRIVATE KEY-----") != std::string::npos;
  const bool holds_public = pem.find("BEGIN PUBLIC KEY-----") != std::string::npos;
  if (is_private ? holds_public && !holds_private : holds_private) {
    throw Error("the key file holds the other half of a key")
        .values(kind, holds_private ? "a private key" : "a public key")
        .at(path.string())
        .hint(hint);
  }
  const Openssl<BIO> bio(BIO_new_mem_buf(pem.data(), narrow<int>(pem.size())));
  require_openssl(bio != nullptr, "open a key in memory");
  bool asked = false;
  Openssl<EVP_PKEY> key(is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, &note_encryption, &asked)
                                   : PEM_read_bio_PUBKEY(bio.get(), nullptr, &note_encryption, &asked));
  ERR_clear_error();
  if (asked) {
    throw Error("the key file is encrypted")
        .values("a key without a password", "one with a password")
        .at(path.string())
        .hint(
            "openssl pkey -in KEY.pem -out OPEN.pem takes the password off; keep the file where only the run reads it");
  }
  if (key == nullptr)
    throw Error("not a key file").values(kind + ", as PEM", "no such key").at(path.string()).hint(hint);
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) {
    const char* const name = EVP_PKEY_get0_type_name(key.get());
    throw Error("a key of another kind").values(kind, name == nullptr ? "another" : name).at(path.string()).hint(hint);
  }
  return key;
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
