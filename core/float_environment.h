#pragma once
// The floating-point environment that all our arithmetic assumes: results round to nearest, subnormal numbers stay what
// they are. It belongs to a thread, and anything in the process may change it: a library that was linked with fast
// maths, a plugin, what the starter of a thread had set. So it is set when a thread of ours starts and before each
// piece of work, and looked at again afterwards.

#include <string>
#include <string_view>

namespace baekji {

/// Sets it on the calling thread. Costs a few cycles where it is set already.
void set_float_environment();

/// How the calling thread's differs, "subnormal results become 0, rounding toward 0 (MXCSR 0xffc0)"; empty where it
/// does not.
std::string float_environment_problem();

/// Throws when the calling thread's differs: something has changed it since set_float_environment(), and what was
/// computed meanwhile may have other bits. `place` says where: a rank, a thread.
void require_float_environment(std::string_view place);

}  // namespace baekji
