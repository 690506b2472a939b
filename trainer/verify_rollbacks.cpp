#include "trainer/verify_rollbacks.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace baekji {
namespace {

std::int64_t size_of(const SkippedBatches& skipped) {
  std::int64_t count = 0;
  for (const BatchRange& range : skipped.ranges()) count += range.to - range.from + 1;
  return count;
}

}  // namespace

// The state of `to` has n - to batches behind it that are not left out yet: (n - to) (n - to + 1) / 2 ranges of them.
double rollback_choices(std::int64_t last_step) {
  const auto n = static_cast<double>(last_step);
  return n * (n + 1) * (n + 2) / 6;
}

RollbackPrice price_rollbacks(const Ledger& ledger) {
  RollbackPrice price;
  std::int64_t last_step = 0;
  SkippedBatches skipped;
  ledger.for_each([&](std::int64_t, const std::string& kind, const nlohmann::json& body) {
    if (kind == "step") last_step = body.at("step").get<std::int64_t>();
    if (kind != "event" || body.value("event", "") != "rollback") return;
    const RollbackEvent event = parse_rollback_event(body, "ledger");
    ++price.rollbacks;
    price.steps_thrown_away += last_step - event.to;
    price.freedom_bits += std::log2(std::max(1.0, rollback_choices(last_step)));
    std::vector<BatchRange> ranges = skipped.ranges();
    ranges.push_back(event.skip);
    skipped = SkippedBatches(std::move(ranges));
    last_step = event.to;
  });
  price.batches_left_out = size_of(skipped);
  return price;
}

void report_rollbacks(const Ledger& ledger, VerifyReport& report) {
  const RollbackPrice price = price_rollbacks(ledger);
  if (price.rollbacks == 0) {
    report.pass("rollbacks", "none", "no rollback");
    return;
  }
  report.note("rollbacks",
              fmt::format("{}: {} batches left out, {} steps trained and thrown away, the owner's freedom {:.1f} bits",
                          price.rollbacks, price.batches_left_out, price.steps_thrown_away, price.freedom_bits));
  for (const BatchRange& range : ledger.skipped().ranges())
    report.note("rollbacks", fmt::format("batches {} to {} were left out", range.from, range.to));
}

}  // namespace baekji
