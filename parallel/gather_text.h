#pragma once
// Short texts from every rank to every rank: records, digests, names.

#include <string>
#include <string_view>
#include <vector>

#include "parallel/communicator.h"

namespace baekji {

/// The texts of all ranks of the group, in rank order. Collective.
std::vector<std::string> gather_text(Communicator& group, std::string_view text);

}  // namespace baekji
