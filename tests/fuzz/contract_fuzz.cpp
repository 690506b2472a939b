// Any bytes as a contract: an Error, or a value whose canonical bytes are those that came, and rules for a ledger that
// answer for any step.

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proof/contract.h"
#include "trainer/ledger_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (baekji::canonical_json(baekji::parse_canonical_json(text, "input")) != text) std::abort();
    (void)baekji::contract_digest(text);
    const baekji::LedgerRules rules = baekji::ledger_rules(text);
    // Steps and batches count from 1.
    for (const std::int64_t n : {1, 2, 1000}) {
      (void)rules.position(n);
      (void)rules.batch_tokens(n);
      (void)rules.learning_rate(n);
    }
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  return 0;
}
