#include "core/digest.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"

namespace baekji {
namespace {

EVP_MD_CTX* openssl(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

void check(int ok) {
  if (ok != 1) throw Error("OpenSSL refused a SHA-256 operation");
}

// Looked up once: OpenSSL 3 does so at every start otherwise, which takes three times as long as to hash a tree's node.
const EVP_MD* algorithm() {
  struct Free {
    void operator()(EVP_MD* md) const { EVP_MD_free(md); }
  };
  static const std::unique_ptr<EVP_MD, Free> kSha256(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  check(kSha256 != nullptr ? 1 : 0);
  return kSha256.get();
}

}  // namespace

void Sha256::Free::operator()(void* context) const {
  EVP_MD_CTX_free(openssl(context));
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  check(context_ != nullptr ? 1 : 0);
  check(EVP_DigestInit_ex(openssl(context_.get()), algorithm(), nullptr));
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::add(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(openssl(context_.get()), bytes.data(), bytes.size()));
  return *this;
}

Digest Sha256::finish() {
  Digest digest{};
  unsigned size = 0;
  check(EVP_DigestFinal_ex(openssl(context_.get()), digest.data(), &size));
  return digest;
}

Digest sha256(std::span<const std::byte> bytes) {
  return Sha256().add(bytes).finish();
}
Digest sha256(std::string_view text) {
  return Sha256().add(text).finish();
}

std::string fresh_nonce() {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) throw Error("OpenSSL has no random bytes");
  std::string hex;
  for (const unsigned char byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

std::string bytes_to_hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<std::uint8_t>(byte));
  return text;
}

std::string hex_to_bytes(std::string_view hex) {
  const bool hexadecimal = hex.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (hex.size() % 2 != 0 || !hexadecimal)
    throw Error("not hexadecimal").values("pairs of lower-case hex digits", std::string(hex.substr(0, 200)));
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

std::string to_hex(const Digest& digest) {
  return bytes_to_hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

Digest parse_digest(std::string_view hex) {
  if (hex.size() != 64)
    throw Error("not a SHA-256 digest").values("64 hex digits", fmt::format("{} characters", hex.size()));
  const std::string bytes = hex_to_bytes(hex);
  Digest digest{};
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

Digest merkle_leaf(std::span<const std::byte> data) {
  static constexpr std::byte kLeaf{0x00};
  return Sha256().add(std::span(&kLeaf, 1)).add(data).finish();
}

Digest merkle_leaf(std::string_view data) {
  return merkle_leaf(std::as_bytes(std::span(data.data(), data.size())));
}

Digest merkle_node(const Digest& left, const Digest& right) {
  static constexpr std::byte kNode{0x01};
  return Sha256()
      .add(std::span(&kNode, 1))
      .add(std::as_bytes(std::span(left)))
      .add(std::as_bytes(std::span(right)))
      .finish();
}

Digest merkle_root(std::span<const Digest> leaf_hashes) {
  MerkleBuilder builder;
  for (const Digest& leaf : leaf_hashes) builder.add(leaf);
  return builder.root();
}

void MerkleBuilder::add(const Digest& leaf_hash) {
  Digest node = leaf_hash;
  for (std::uint64_t carry = size_; (carry & 1) != 0; carry >>= 1) {
    node = merkle_node(peaks_.back(), node);
    peaks_.pop_back();
  }
  peaks_.push_back(node);
  ++size_;
}

Digest MerkleBuilder::root() const {
  if (peaks_.empty()) return sha256(std::string_view{});
  Digest node = peaks_.back();
  for (std::size_t i = peaks_.size() - 1; i > 0; --i) node = merkle_node(peaks_[i - 1], node);
  return node;
}

}  // namespace baekji
