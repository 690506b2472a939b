#include "plan/network_cost.h"

#include <algorithm>
#include <cmath>

namespace baekji {
namespace {

// What a collective takes before any step of it: launch, and the ranks' meeting.
constexpr double kMeeting_s = 5e-6;

}  // namespace

double NetworkCost::ring_bytes_per_s(const DeviceGroup& group) const {
  const NetworkFigures& n = cluster_.network;
  const double domain = n.domain_gb_s * 1e9 * profile_.domain_share;
  if (inside_domain(group)) return domain;
  // A ring over several members of a domain leaves it once, by the NICs of all of them.
  const std::int64_t inside = std::max<std::int64_t>(1, std::min(group.size, n.devices_per_domain / group.stride));
  double network = n.network_gb_s * 1e9 * profile_.network_share * static_cast<double>(inside);
  const std::int64_t span = group.size * group.stride;
  if (n.devices_per_pod > 0 && span > n.devices_per_pod) {
    // It also leaves its pod once; as many rings do as the pod has groups side by side.
    const std::int64_t in_pod = std::max<std::int64_t>(1, n.devices_per_pod / group.stride / inside);
    network /= std::max(1.0, n.oversubscription / static_cast<double>(in_pod));
  }
  return std::min(domain, network);
}

double NetworkCost::collective_s(const DeviceGroup& group, double bytes, double passes) const {
  if (group.size <= 1) return 0;
  const auto size = static_cast<double>(group.size);
  const NetworkFigures& n = cluster_.network;
  const double latency = (inside_domain(group) ? n.domain_latency_us : n.network_latency_us) * 1e-6;
  return passes * (size - 1) / size * bytes / ring_bytes_per_s(group) + passes * latency * std::log2(size) + kMeeting_s;
}

double NetworkCost::send_s(std::int64_t stride, double bytes) const {
  const NetworkFigures& n = cluster_.network;
  const bool inside = 2 * stride <= n.devices_per_domain;
  double rate = (inside ? n.domain_gb_s * profile_.domain_share : n.network_gb_s * profile_.network_share) * 1e9;
  if (!inside && n.devices_per_pod > 0 && 2 * stride > n.devices_per_pod) rate /= n.oversubscription;
  return bytes / rate + (inside ? n.domain_latency_us : n.network_latency_us) * 1e-6;
}

}  // namespace baekji
