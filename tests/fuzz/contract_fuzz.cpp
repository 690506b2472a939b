// Any bytes as canonical JSON: an Error, or a value whose canonical bytes are those that came.

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proof/contract.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (baekji::canonical_json(baekji::parse_canonical_json(text, "input")) != text) std::abort();
    (void)baekji::contract_digest(text);
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  return 0;
}
