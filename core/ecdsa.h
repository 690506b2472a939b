#pragma once
// EcdsaKey, EcdsaPublicKey: the halves of a key on the curve P-256 that signs with SHA-256 (FIPS 186-5). Attestations
// and signatures of models are made with it, because their stock verifiers take it.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace baekji {

class EcdsaPublicKey {
 public:
  /// Reads a PEM file as `openssl pkey -pubout` writes it. Throws, naming the file, when it holds anything else.
  static EcdsaPublicKey load(const std::filesystem::path& path);

  /// Whether the owner of the key signed exactly this message (not a digest); `signature` as DER.
  bool verifies(std::string_view message, std::string_view signature) const;
  /// As EcdsaKey::public_pem().
  std::string pem() const;

 private:
  explicit EcdsaPublicKey(std::shared_ptr<void> key) : key_(std::move(key)) {}
  std::shared_ptr<void> key_;  // EVP_PKEY
};

class EcdsaKey {
 public:
  /// Reads a PEM file without a passphrase, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes
  /// it. Throws, naming the file but nothing of its content, when it holds anything else.
  static EcdsaKey load(const std::filesystem::path& path);

  /// The signature of the message (not of a digest), as DER. No two are equal: the nonce is random.
  std::string sign(std::string_view message) const;
  /// The public key as `openssl pkey -pubout` writes it.
  std::string public_pem() const;

 private:
  explicit EcdsaKey(std::shared_ptr<void> key) : key_(std::move(key)) {}
  std::shared_ptr<void> key_;  // EVP_PKEY
};

}  // namespace baekji
