#include "proof/merkle_tree.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "core/error.h"

namespace baekji {
namespace {

MerkleNodes nodes_over(const std::vector<Digest>& leaves) {
  return [&leaves](std::int64_t height, std::int64_t index) {
    const auto count = std::size_t{1} << height;
    return merkle_root(std::span(leaves).subspan(static_cast<std::size_t>(index) * count, count));
  };
}

std::vector<std::string> as_hex(const std::vector<Digest>& proof) {
  std::vector<std::string> text;
  for (const Digest& node : proof) text.push_back(to_hex(node));
  return text;
}

// The leaves and proofs of the certificate-transparency test data (RFC 6962).
TEST(MerkleTree, KnownProofs) {
  using namespace std::string_literals;
  std::vector<Digest> leaves;
  for (const std::string& leaf :
       {""s, "\x00"s, "\x10"s, "\x20\x21"s, "\x30\x31"s, "\x40\x41\x42\x43"s, "\x50\x51\x52\x53\x54\x55\x56\x57"s,
        "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"s})
    leaves.push_back(merkle_leaf(leaf));
  const std::string a = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
  const std::string b = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
  const std::string cd = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
  const std::string efgh = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
  const std::string e = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
  const std::string gh = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
  const std::string abcd = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
  const std::string ef = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
  const std::string ab = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
  using Texts = std::vector<std::string>;
  const MerkleNodes nodes = nodes_over(leaves);
  EXPECT_EQ(as_hex(inclusion_proof(0, 1, nodes)), Texts{});
  EXPECT_EQ(as_hex(inclusion_proof(0, 8, nodes)), (Texts{b, cd, efgh}));
  EXPECT_EQ(as_hex(inclusion_proof(5, 8, nodes)), (Texts{e, gh, abcd}));
  EXPECT_EQ(as_hex(inclusion_proof(2, 3, nodes)), (Texts{ab}));
  EXPECT_EQ(as_hex(inclusion_proof(1, 5, nodes)), (Texts{a, cd, e}));
  EXPECT_EQ(as_hex(consistency_proof(1, 1, nodes)), Texts{});
  EXPECT_EQ(as_hex(consistency_proof(1, 8, nodes)), (Texts{b, cd, efgh}));
  EXPECT_EQ(as_hex(consistency_proof(6, 8, nodes)), (Texts{ef, gh, abcd}));
  EXPECT_EQ(as_hex(consistency_proof(2, 5, nodes)), (Texts{cd, e}));
  std::printf("5 inclusion and 4 consistency proofs of the RFC 6962 test data\n");
}

TEST(MerkleTree, EveryProofHoldsAndNoOther) {
  std::vector<Digest> leaves;
  for (int n = 0; n < 40; ++n) leaves.push_back(merkle_leaf("leaf " + std::to_string(n)));
  const MerkleNodes nodes = nodes_over(leaves);
  std::vector<TreeHead> heads;
  for (std::int64_t n = 0; n <= 40; ++n) {
    heads.push_back({n, merkle_root(std::span(leaves).first(static_cast<std::size_t>(n)))});
    ASSERT_EQ(tree_head(n, nodes), heads.back().root) << n;
  }
  std::int64_t good = 0;
  std::int64_t bad = 0;
  const auto refused = [&](bool verdict) {
    EXPECT_FALSE(verdict);
    bad += 1;
  };
  for (std::int64_t n = 1; n <= 40; ++n) {
    const Digest& head = heads[static_cast<std::size_t>(n)].root;
    for (std::int64_t i = 0; i < n; ++i) {
      std::vector<Digest> proof = inclusion_proof(i, n, nodes);
      const Digest& leaf = leaves[static_cast<std::size_t>(i)];
      ASSERT_TRUE(includes(head, n, leaf, i, proof)) << i << " of " << n;
      good += 1;
      if (n > 1) refused(includes(head, n, leaf, (i + 1) % n, proof));
      refused(includes(head, n, sha256("another"), i, proof));
      for (Digest& node : proof) {
        node[5] ^= 4;
        refused(includes(head, n, leaf, i, proof));
        node[5] ^= 4;
      }
      proof.push_back(Digest{});
      refused(includes(head, n, leaf, i, proof));
    }
    for (std::int64_t m = 0; m <= n; ++m) {
      const TreeHead& old_head = heads[static_cast<std::size_t>(m)];
      const TreeHead& new_head = heads[static_cast<std::size_t>(n)];
      std::vector<Digest> proof = consistency_proof(m, n, nodes);
      ASSERT_TRUE(extends(old_head, new_head, proof)) << m << " to " << n;
      good += 1;
      refused(extends({m, sha256("another")}, new_head, proof));
      if (m > 0) refused(extends(old_head, {n, sha256("another")}, proof));
      for (Digest& node : proof) {
        node[31] ^= 128;
        refused(extends(old_head, new_head, proof));
        node[31] ^= 128;
      }
      proof.push_back(Digest{});
      refused(extends(old_head, new_head, proof));
    }
  }
  EXPECT_FALSE(includes(heads[4].root, 4, leaves[0], 4, {}));
  EXPECT_FALSE(extends(heads[5], heads[4], {}));
  EXPECT_THROW(inclusion_proof(4, 4, nodes), Error);
  EXPECT_THROW(inclusion_proof(-1, 4, nodes), Error);
  EXPECT_THROW(consistency_proof(5, 4, nodes), Error);
  std::printf("trees of 1 to 40 leaves: %lld proofs hold, %lld altered ones do not\n", static_cast<long long>(good),
              static_cast<long long>(bad));
}

}  // namespace
}  // namespace baekji
