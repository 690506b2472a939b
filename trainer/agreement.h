#pragma once
// Agreement: ranks that read other files, or run another program, would go apart silently. They say so before they
// begin.

#include <string>

#include "parallel/communicator.h"
#include "trainer/experiment.h"

namespace baekji {

/// Throws, on every rank alike, unless all ranks have the same text. `what` it is about.
void require_same_everywhere(Communicator& world, const std::string& what, const std::string& mine);

/// `world`, when all its ranks have this resolved experiment; otherwise throws, with the first key that differs. First
/// of all: ranks with other layouts would not even make the same calls.
Communicator& agreed(const Experiment& experiment, Communicator& world);

}  // namespace baekji
