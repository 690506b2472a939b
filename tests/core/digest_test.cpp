#include "core/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace baekji {
namespace {

TEST(Digest, Sha256KnownAnswers) {
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256().add("a").add("").add("bc").finish(), sha256("abc"));
}

TEST(Digest, HexadecimalBothWays) {
  const Digest digest = sha256("abc");
  EXPECT_EQ(parse_digest(to_hex(digest)), digest);
  EXPECT_THROW((void)parse_digest("abc"), Error);
  EXPECT_THROW((void)parse_digest(std::string(64, 'g')), Error);
  EXPECT_THROW((void)parse_digest(std::string(64, 'A')), Error) << "one spelling only";
}

// The leaves and roots of the certificate-transparency test data (RFC 6962).
TEST(Digest, MerkleKnownRoots) {
  using namespace std::string_literals;
  const std::vector<std::string> leaves{"",
                                        "\x00"s,
                                        "\x10"s,
                                        "\x20\x21"s,
                                        "\x30\x31"s,
                                        "\x40\x41\x42\x43"s,
                                        "\x50\x51\x52\x53\x54\x55\x56\x57"s,
                                        "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"s};
  const std::vector<std::string> roots{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                                       "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                                       "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                                       "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                                       "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                                       "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                                       "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                                       "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                                       "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  std::vector<Digest> hashes;
  MerkleBuilder builder;
  for (std::size_t n = 0; n <= leaves.size(); ++n) {
    EXPECT_EQ(to_hex(merkle_root(hashes)), roots[n]) << n << " leaves";
    EXPECT_EQ(builder.root(), merkle_root(hashes));
    EXPECT_EQ(builder.size(), n);
    if (n == leaves.size()) break;
    hashes.push_back(merkle_leaf(leaves[n]));
    builder.add(hashes.back());
  }
}

// The recursive definition of RFC 6962, section 2.1: split at the largest power of two below n.
Digest recursive_root(std::span<const Digest> leaves) {
  if (leaves.empty()) return sha256("");
  if (leaves.size() == 1) return leaves.front();
  std::size_t k = 1;
  while (k * 2 < leaves.size()) k *= 2;
  return merkle_node(recursive_root(leaves.first(k)), recursive_root(leaves.subspan(k)));
}

TEST(Digest, BuilderEqualsTheDefinition) {
  std::vector<Digest> leaves;
  for (int n = 0; n < 70; ++n) {
    ASSERT_EQ(merkle_root(leaves), recursive_root(leaves)) << n << " leaves";
    leaves.push_back(merkle_leaf("leaf " + std::to_string(n)));
  }
}

TEST(Digest, LittleEndian) {
  std::string out;
  append_little_endian(out, std::uint32_t{0x01020304});
  append_little_endian(out, std::uint16_t{0xFFFE});
  EXPECT_EQ(out, std::string("\x04\x03\x02\x01\xFE\xFF", 6));
}

}  // namespace
}  // namespace baekji
