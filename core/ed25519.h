#pragma once
// Ed25519 signatures (RFC 8032, by OpenSSL), with keys from PEM files.

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace baekji {

using Ed25519Signature = std::array<std::uint8_t, 64>;

struct Ed25519PublicKey {
  std::array<std::uint8_t, 32> bytes{};
  friend bool operator==(const Ed25519PublicKey&, const Ed25519PublicKey&) = default;
};

/// From a PEM file as `openssl pkey -pubout` writes it. Throws when it is not there, or holds no key or another kind.
Ed25519PublicKey read_public_key(const std::filesystem::path& path);

/// Whether the owner of the key signed exactly this message.
bool signature_holds(const Ed25519PublicKey& key, std::string_view message, const Ed25519Signature& signature);

/// A private key in memory; OpenSSL wipes it when the object goes.
class Ed25519PrivateKey {
 public:
  /// From a PEM file as `openssl genpkey -algorithm ed25519` writes it. Throws when it is not there, is encrypted
  /// (there is nobody to ask for a password), or holds no key or another kind.
  static Ed25519PrivateKey read(const std::filesystem::path& path);

  const Ed25519PublicKey& public_key() const { return public_key_; }
  /// The same message gives the same signature always: Ed25519 takes no random numbers.
  Ed25519Signature sign(std::string_view message) const;

 private:
  struct Free {
    void operator()(void* key) const;
  };
  Ed25519PrivateKey() = default;

  std::unique_ptr<void, Free> key_;
  Ed25519PublicKey public_key_;
};

}  // namespace baekji
