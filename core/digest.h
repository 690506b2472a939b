#pragma once
// SHA-256 (OpenSSL) and the Merkle tree hash of RFC 6962, and the little-endian encoding that formats are written in.

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baekji {

using Digest = std::array<std::uint8_t, 32>;

/// Incremental SHA-256.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  Sha256& add(std::span<const std::byte> bytes);
  Sha256& add(std::string_view text) { return add(std::as_bytes(std::span(text.data(), text.size()))); }
  /// The digest of all that was added; the object may then only be destroyed or assigned to.
  Digest finish();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);

/// Lower-case hexadecimal, and back. `parse_digest` throws on anything but 64 hex digits.
std::string to_hex(const Digest& digest);
Digest parse_digest(std::string_view hex);
/// The same for any bytes; `hex_to_bytes` throws on anything but pairs of lower-case hex digits.
std::string bytes_to_hex(std::string_view bytes);
std::string hex_to_bytes(std::string_view hex);

/// 32 hex digits that nobody could foresee, from OpenSSL's generator.
std::string fresh_nonce();

/// RFC 6962, section 2.1: the hash of one leaf, SHA-256(0x00 || data), and of an inner node, SHA-256(0x01 || left ||
/// right).
Digest merkle_leaf(std::span<const std::byte> data);
Digest merkle_leaf(std::string_view data);
Digest merkle_node(const Digest& left, const Digest& right);
/// The tree head over leaf hashes; SHA-256 of nothing when there are none.
Digest merkle_root(std::span<const Digest> leaf_hashes);

/// The tree head of leaves that arrive one after another, in O(log n) memory.
class MerkleBuilder {
 public:
  void add(const Digest& leaf_hash);
  Digest root() const;
  std::uint64_t size() const { return size_; }

 private:
  std::vector<Digest> peaks_;  // one per set bit of size_, the largest subtree first
  std::uint64_t size_ = 0;
};

template <std::unsigned_integral T>
void append_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
}

}  // namespace baekji
