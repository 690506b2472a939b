#include "trainer/checkpoint_of_run.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace baekji {

std::string why_not_of_run(const CheckpointInfo& info, const Ledger& ledger) {
  if (info.contract != ledger.genesis().contract) return "its contract is not this run's";
  if (info.step < 1) return "step 0 comes from genesis alone";
  const auto body = ledger.find_step(info.step);
  if (!body) return fmt::format("the ledger holds no record of step {}", info.step);
  const std::optional<Digest> root = ledger.state_root_of(info.step);
  if (!root) return "the ledger holds no state root for its step";
  if (*root != info.state_root)
    return fmt::format("its state root is {}, the ledger's {}", to_hex(info.state_root), to_hex(*root));
  const StepRecord record = parse_step_body(*body, "the ledger");
  const auto differs = [](const char* what, std::int64_t mine, std::int64_t recorded) {
    return mine == recorded ? std::string() : fmt::format("its {} is {}, the ledger's {}", what, mine, recorded);
  };
  std::string why = differs("position", info.position, record.position);
  if (why.empty()) why = differs("number of tokens", info.tokens, record.tokens);
  if (why.empty()) why = differs("number of updates", info.updates, record.updates);
  return why;
}

}  // namespace baekji
