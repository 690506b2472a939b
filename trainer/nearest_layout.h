#pragma once
// The layout that can be, nearest to one that cannot.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "plan/cluster.h"
#include "plan/profile.h"

namespace baekji {

/// Of the layouts that the experiment's numerics allow on as many devices as its [layout] asks for, or the next fewer
/// powers of two, the one whose degrees differ the least; as text. Empty when the layout is not what is wrong with the
/// file.
std::string nearest_layout(const std::filesystem::path& experiment, std::span<const std::string> overrides,
                           const Cluster& cluster, const ImplementationProfile& profile);

}  // namespace baekji
