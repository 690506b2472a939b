#pragma once
// Ed25519 keys as PEM files, from a seed, and the stock openssl program as a second opinion.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/base64.h"
#include "core/digest.h"
#include "core/ed25519.h"

namespace baekji {

inline std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

inline std::string as_text(const auto& octets) {
  return std::string(octets.begin(), octets.end());
}

inline std::filesystem::path write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  return path;
}

/// The PEM file of the private key with this 32-byte seed (RFC 8410 puts these 16 bytes before it).
inline std::filesystem::path write_private_key(const std::filesystem::path& path, const std::string& seed) {
  return write_file(path, "-----BEGIN PRIVATE KEY-----\n" +
                              encode_base64(from_hex("302e020100300506032b657004220420") + seed) +
                              "\n-----END PRIVATE KEY-----\n");
}
inline std::filesystem::path write_public_key(const std::filesystem::path& path, const Ed25519PublicKey& key) {
  return write_file(path, "-----BEGIN PUBLIC KEY-----\n" +
                              encode_base64(from_hex("302a300506032b6570032100") + as_text(key.bytes)) +
                              "\n-----END PUBLIC KEY-----\n");
}

/// A key for tests, always the same for a name; its file is `<folder>/<name>.pem`.
inline Ed25519PrivateKey test_key(const std::filesystem::path& folder, const std::string& name) {
  const Digest seed = sha256("a key of the tests: " + name);
  return Ed25519PrivateKey::read(write_private_key(folder / (name + ".pem"), as_text(seed)));
}

inline bool has_openssl_program() {
  return std::system("openssl version >/dev/null 2>&1") == 0;
}

/// Whether the openssl program finds that `signature` is this key's of `message`.
inline bool openssl_agrees(const std::filesystem::path& folder, const Ed25519PublicKey& key, const std::string& message,
                           const std::string& signature) {
  const std::string base = (folder / "openssl").string();
  write_public_key(base + ".pub", key);
  write_file(base + ".message", message);
  write_file(base + ".signature", signature);
  const std::string command = "openssl pkeyutl -verify -rawin -pubin -inkey '" + base + ".pub' -in '" + base +
                              ".message' -sigfile '" + base + ".signature' >/dev/null 2>&1";
  return std::system(command.c_str()) == 0;
}

}  // namespace baekji
