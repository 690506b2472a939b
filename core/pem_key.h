#pragma once
// Keys in PEM files, through OpenSSL: what core/ed25519 and core/ecdsa have in common.

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace baekji {

struct FreeOpenssl {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
template <class T>
using Openssl = std::unique_ptr<T, FreeOpenssl>;

/// Throws "OpenSSL could not <action>" unless `ok`.
void require_openssl(bool ok, const char* action);

/// The bytes as OpenSSL takes them.
const unsigned char* octets(std::string_view bytes);

struct PemKeyArgs {
  const std::filesystem::path& path;
  bool is_private = true;
  const char* type = "";  ///< OpenSSL's name: "ED25519", "EC"
  std::string_view what;  ///< "an Ed25519 private key"
  std::string_view hint;  ///< the command that makes one
};
/// Throws, naming the file but nothing of its content, when it is not there, is encrypted (there is nobody to ask for a
/// password), holds the other half of a key, or no key of this type.
Openssl<EVP_PKEY> read_pem_key(const PemKeyArgs& args);

}  // namespace baekji
