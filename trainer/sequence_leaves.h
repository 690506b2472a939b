#pragma once
// SequenceLeaves: what the ranks of a step read, sequence by sequence, brought together as the step's batch root.

#include <array>
#include <cstdint>
#include <vector>

#include "core/digest.h"
#include "parallel/rank_groups.h"

namespace baekji {

class SequenceLeaves {
 public:
  /// Forgets the step before.
  void begin(std::int64_t sequences);
  /// This rank read a sequence. Throws when it had read the sequence in this step and found something else.
  void note(std::int64_t sequence, const Digest& leaf, const RankGroups& ranks);
  /// Collective: all ranks get the leaves of all. One call, which a rehearsal makes too.
  void exchange(Communicator& world);
  /// After exchange(): the batch root. Throws, on every rank alike, when ranks found different tokens in a sequence of
  /// `batch`, or none read it.
  Digest root(const RankGroups& ranks, std::int64_t batch) const;

 private:
  // A digest travels as four integers and their complements: the maxima of both agree only where all readers do.
  static constexpr std::size_t kWords = 4;
  struct Leaf {
    std::array<std::int64_t, kWords> words;
    std::array<std::int64_t, kWords> complements;
  };
  static_assert(sizeof(Leaf) == 2 * sizeof(Digest));

  [[noreturn]] void tell_who_differs(const RankGroups& ranks, std::int64_t batch, std::size_t sequence) const;

  std::vector<Leaf> own_;
  std::vector<Leaf> all_;
};

}  // namespace baekji
