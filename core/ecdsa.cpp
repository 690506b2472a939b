#include "core/ecdsa.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <array>
#include <vector>

#include "core/error.h"
#include "core/file_system.h"

namespace baekji {
namespace {

constexpr std::string_view kCurve = "prime256v1";  // what OpenSSL calls P-256

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

EVP_PKEY* as_key(const std::shared_ptr<void>& key) {
  return static_cast<EVP_PKEY*>(key.get());
}

// OpenSSL would ask the terminal, and a job without one would wait for ever.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) {
  return -1;
}

void require_ecdsa(bool ok, const char* what) {
  if (!ok) throw Error(fmt::format("OpenSSL could not {}", what));
}

}  // namespace

EcdsaKey EcdsaKey::load(const std::filesystem::path& path) {
  const std::string pem = posix_file_system().read(path);
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  require_ecdsa(bio != nullptr, "read a key");
  const std::shared_ptr<void> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr),
                                  [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); });
  std::array<char, 64> curve{};
  std::size_t length = 0;
  if (key != nullptr && EVP_PKEY_get_group_name(as_key(key), curve.data(), curve.size(), &length) == 1 &&
      EVP_PKEY_is_a(as_key(key), "EC") == 1 && std::string_view(curve.data(), length) == kCurve)
    return EcdsaKey(key);
  throw Error("the file holds no key to sign with")
      .values("a private key on the curve P-256, PEM, without a passphrase",
              key == nullptr ? "no private key that can be read" : "a private key of another kind")
      .at(path.string())
      .hint("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem");
}

std::string EcdsaKey::sign(std::string_view message) const {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  require_ecdsa(context != nullptr, "begin a signature");
  const std::vector<unsigned char> bytes(message.begin(), message.end());
  require_ecdsa(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, as_key(key_)) == 1,
                "begin a signature");
  std::size_t size = 0;
  require_ecdsa(EVP_DigestSign(context.get(), nullptr, &size, bytes.data(), bytes.size()) == 1, "size a signature");
  std::vector<unsigned char> signature(size);
  require_ecdsa(EVP_DigestSign(context.get(), signature.data(), &size, bytes.data(), bytes.size()) == 1, "sign");
  signature.resize(size);  // it is often shorter than its bound
  return {signature.begin(), signature.end()};
}

std::string EcdsaKey::public_pem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  require_ecdsa(bio != nullptr && PEM_write_bio_PUBKEY(bio.get(), as_key(key_)) == 1, "write a public key");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

}  // namespace baekji
