#include "trainer/verify_against.h"

#include "trainer/layout.h"
#include "trainer/side_by_side.h"
#include "trainer/verify_pieces.h"

namespace baekji {
namespace {

KernelsMaker reference_kernels() {
  return [](ThreadPool&) { return make_reference_kernels(ScalarKind::kFloat); };
}

std::string describe(const SideBySideDifference& difference) {
  std::string text = fmt::format("step {} differs in {}; first operation: {} ({} rows)", difference.step,
                                 fmt::join(difference.members, ", "), difference.operation, difference.rows);
  if (difference.element >= 0) {
    text += fmt::format("\n                 element {} of its first row: {:.9g} (bits of {:a}) and {:.9g} ({:a})",
                        difference.element, difference.first, difference.first, difference.second, difference.second);
  }
  return text;
}

}  // namespace

void verify_against(const AgainstArgs& args, VerifyReport& report) {
  const auto [from, last] = args.options.replay.value_or(std::pair(std::int64_t{0}, args.run.ledger.last_step()));
  const Anchor& anchor = anchor_before(args.anchors, from);
  if (anchor.step() < from)
    report.note("anchor", fmt::format("no state of step {} is kept: from step {} instead", from, anchor.step()));
  const Experiment first = under_layout(args.run, {});
  const Experiment second = under_layout(args.run, args.options.against);
  std::optional<SideBySideDifference> difference;
  for_each_rank(second, args.job.world.size(), &args.job.world, [&](Communicator& world) {
    const auto mine =
        compare_side_by_side({.first = first,
                              .second = second,
                              .inputs = args.inputs,
                              .ledger = args.run.ledger,
                              .anchor = anchor,
                              .last = last,
                              .first_kernels = {},
                              .second_kernels = args.options.against_reference ? reference_kernels() : KernelsMaker{},
                              .machine = share_of(args.job, world)},
                             world);
    if (world.rank() == 0) difference = mine;
  });
  const std::string piece =
      fmt::format("steps {} to {}, {} against {}{}", anchor.step() + 1, last, describe(first.layout),
                  describe(second.layout), args.options.against_reference ? ", reference kernels" : "");
  if (difference)
    report.fail("against", fmt::format("{}: {}", piece, describe(*difference)));
  else
    report.pass("against", piece + ": every record is the same");
}

}  // namespace baekji
