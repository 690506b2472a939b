// Any bytes as a ledger; or, behind a first byte '+', lines of a kind, a blank and a body, which get their index and
// their place in the chain here, so that what is behind the chain is reached too. An Error, or a ledger that can be
// read.

#include <nlohmann/json.hpp>

#include "core/untrusted_json.h"
#include "proof/contract.h"
#include "proof/ledger.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

using baekji::Digest;
using nlohmann::json;

std::string chained(std::string_view text) {
  std::string ledger;
  Digest previous{};
  std::int64_t index = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    const auto body = baekji::try_parse_json(line.substr(blank + 1));
    if (!body) continue;
    try {
      const std::string record = baekji::canonical_json({{"body", *body},
                                                         {"index", index},
                                                         {"kind", std::string(line.substr(0, blank))},
                                                         {"previous", baekji::to_hex(previous)}});
      previous = baekji::sha256(record);
      ++index;
      ledger += record + "\n";
    } catch (const baekji::Error&) {
      // fractions, or a kind that is no text
    }
  }
  return ledger;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("ledger");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const bool chain = bytes.starts_with('+');
  const auto path = folder.write("ledger.jsonl", chain ? chained(bytes.substr(1)) : std::string(bytes));
  try {
    const auto ledger = baekji::Ledger::open_read_only(path);
    ledger.for_each([](std::int64_t, const std::string&, const json&) {});
    for (std::int64_t step = 0; step <= ledger.last_step(); ++step) {
      (void)ledger.find_step(step);
      (void)ledger.state_root_of(step);
    }
    (void)ledger.head_after(ledger.record_count());
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  return 0;
}
