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

// For each `from`, the states that lie before it times the ends that are allowed. Both ends only ever move on.
double rollback_choices(const SkippedBatches& skipped, std::int64_t last_step, std::optional<std::int64_t> budget) {
  const std::int64_t end = skipped.batch_of(last_step);
  std::vector<bool> out(static_cast<std::size_t>(end) + 2, false);
  for (const BatchRange& range : skipped.ranges()) {
    for (std::int64_t batch = range.from; batch <= std::min(range.to, end); ++batch)
      out[static_cast<std::size_t>(batch)] = true;
  }
  double choices = 0;
  std::int64_t states = 1;  // step 0, and each batch that was trained on before `from`
  std::int64_t last = 0;    // the largest that is allowed
  std::int64_t added = 0;   // batches in [from, last] that are not left out yet
  for (std::int64_t from = 1; from <= end; ++from) {
    if (last < from - 1) last = from - 1;
    while (last < end && (out[static_cast<std::size_t>(last + 1)] || !budget || added < *budget)) {
      ++last;
      added += out[static_cast<std::size_t>(last)] ? 0 : 1;
    }
    choices += static_cast<double>(states) * static_cast<double>(last - from + 1);
    if (out[static_cast<std::size_t>(from)]) continue;
    ++states;
    if (last >= from) --added;
  }
  return choices;
}

RollbackPrice price_rollbacks(const Ledger& ledger, std::optional<std::int64_t> max_skipped_batches) {
  RollbackPrice price;
  std::int64_t last_step = 0;
  SkippedBatches skipped;
  ledger.for_each([&](std::int64_t, const std::string& kind, const nlohmann::json& body) {
    if (kind == "step") last_step = body.at("step").get<std::int64_t>();
    if (kind != "event" || body.value("event", "") != "rollback") return;
    const RollbackEvent event = parse_rollback_event(body, "ledger");
    std::optional<std::int64_t> budget;
    if (max_skipped_batches) budget = std::max<std::int64_t>(0, *max_skipped_batches - size_of(skipped));
    ++price.rollbacks;
    price.steps_thrown_away += last_step - event.to;
    price.freedom_bits += std::log2(std::max(1.0, rollback_choices(skipped, last_step, budget)));
    std::vector<BatchRange> ranges = skipped.ranges();
    ranges.push_back(event.skip);
    skipped = SkippedBatches(std::move(ranges));
    last_step = event.to;
  });
  price.batches_left_out = size_of(skipped);
  return price;
}

void report_rollbacks(const Ledger& ledger, std::optional<std::int64_t> max_skipped_batches, VerifyReport& report) {
  const RollbackPrice price = price_rollbacks(ledger, max_skipped_batches);
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
