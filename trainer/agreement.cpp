#include "trainer/agreement.h"

#include <sstream>

#include "parallel/gather_text.h"

namespace baekji {
namespace {

constexpr const char* kHint = "start the same program with the same files and options on every machine";

// "[run] steps = 100": the first line in which the TOML texts differ, with the table it stands in, as each has it.
struct Difference {
  std::string first;
  std::string second;
};
Difference first_difference(const std::string& first, const std::string& second) {
  std::istringstream first_lines(first);
  std::istringstream second_lines(second);
  const auto next = [](std::istringstream& lines) {
    std::string line;
    if (!std::getline(lines >> std::ws, line)) return std::string("nothing more");
    return line;
  };
  Difference lines;
  std::string table;
  do {
    if (lines.first.starts_with('[')) table = lines.first + " ";
    lines = {.first = next(first_lines), .second = next(second_lines)};
  } while (lines.first == lines.second);
  return {.first = table + lines.first, .second = table + lines.second};
}

}  // namespace

void require_same_everywhere(Communicator& world, const std::string& what, const std::string& mine) {
  const std::vector<std::string> all = gather_text(world, mine);
  for (std::size_t r = 0; r < all.size(); ++r) {
    if (all[r] == all[0]) continue;
    throw Error("ranks do not agree on " + what)
        .values("rank 0: " + all[0], fmt::format("rank {}: {}", r, all[r]))
        .hint(kHint);
  }
}

Communicator& agreed(const Experiment& experiment, Communicator& world) {
  const std::string mine = resolved_toml(experiment);
  const std::vector<std::string> digests = gather_text(world, to_hex(sha256(mine)));
  for (std::size_t r = 0; r < digests.size(); ++r) {
    if (digests[r] == digests[0]) continue;
    // Every rank has seen it, so every rank joins in.
    const std::vector<std::string> texts = gather_text(world, mine);
    const Difference keys = first_difference(texts[0], texts[r]);
    throw Error("ranks do not agree on the experiment file")
        .values("rank 0: " + keys.first, fmt::format("rank {}: {}", r, keys.second))
        .at(experiment.place)
        .hint(kHint);
  }
  return world;
}

}  // namespace baekji
