#include "trainer/verify_kernels.h"

#include <fmt/format.h>

#include <algorithm>

namespace baekji {
namespace {

std::string in_short(const Digest& digest) {
  return to_hex(digest).substr(0, 16);
}

}  // namespace

RunKernels::RunKernels(const Ledger& ledger, AdmissibleKernelSets admissible)
    : ledger_(ledger), admissible_(std::move(admissible)) {
  for (std::int64_t step = 1; step <= ledger_.last_step(); ++step) {
    const KernelSet& kernels = ledger_.kernel_set_of(step);
    if (!parts_.empty() && (parts_.back().kernels == &kernels || *parts_.back().kernels == kernels)) continue;
    parts_.push_back({.first = step, .digest = kernel_set_digest(kernels), .kernels = &kernels});
  }
}

PieceKernels RunKernels::of(std::int64_t from, std::int64_t last) const {
  PieceKernels piece;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.first > last || (i + 1 < parts_.size() && parts_[i + 1].first <= from + 1)) continue;
    if (!is_mine(part)) {
      piece.comparable = false;
      piece.other.push_back(
          fmt::format("from step {}: {}", part.first, fmt::join(kernel_set_differences(*part.kernels, *mine_), ", ")));
    }
    if (!admissible_.contains(part.digest)) piece.inadmissible.push_back(in_short(part.digest));
  }
  return piece;
}

void RunKernels::report(VerifyReport& report) const {
  const PieceKernels all = of(0, ledger_.last_step());
  std::vector<std::string> texts;
  for (const Part& part : parts_) {
    texts.push_back(
        fmt::format("{} from step {}{}", in_short(part.digest), part.first,
                    admissible_.contains(part.digest) ? "" : " (NOT admissible: what it computed is not proved)"));
  }
  const Digest begun = kernel_set_digest(ledger_.genesis().kernel_set);
  if (!admissible_.contains(begun))
    report.left("kernels", fmt::format("step 0 was recorded under {}, which is not admissible", in_short(begun)));
  std::string text = texts.empty() ? "none: the run has no step" : fmt::format("{}", fmt::join(texts, ", "));
  if (!all.inadmissible.empty()) {
    report.left("kernels", text);
  } else if (!all.comparable) {
    report.note("kernels", fmt::format("{}; this machine has another, so a difference of bits proves nothing: {}", text,
                                       fmt::join(all.other, "; ")));
  } else {
    report.pass("kernels", text + (mine_ ? ", as on this machine" : ""));
  }
}

}  // namespace baekji
