// Any bytes as a manifest; or, behind a first byte '+', any JSON as its body, under the digest that it needs. An Error,
// or a manifest that is written as it came and whose every range has a place in the index.

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "checkpoint/index_file.h"
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/untrusted_json.h"
#include "proof/contract.h"

namespace {

std::string with_digest(std::string_view body) {
  const auto value = baekji::try_parse_json(body);
  if (!value) return {};
  try {
    const auto digest = baekji::to_hex(baekji::sha256(baekji::canonical_json(*value)));
    return baekji::canonical_json({{"body", *value}, {"sha256", digest}}) + "\n";
  } catch (const baekji::Error&) {
    return {};  // fractions
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.starts_with('+')) bytes = with_digest(std::string_view(bytes).substr(1));
  try {
    const baekji::Manifest manifest = baekji::decode_manifest(bytes, "input");
    if (baekji::encode_manifest(manifest) != bytes) std::abort();
    for (const auto& saved : manifest.ranges)
      (void)baekji::range_pieces(manifest.tensors[static_cast<std::size_t>(saved.range.tensor)], saved.range);
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  return 0;
}
