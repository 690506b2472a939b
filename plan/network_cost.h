#pragma once
// What a collective takes on a cluster: bytes over the narrowest way that a ring of the group crosses, and a latency
// for each of its steps (logarithmic, as trees and multi-hop rings have it).

#include <cstdint>

#include "plan/cluster.h"
#include "plan/profile.h"

namespace baekji {

/// Ranks `stride` devices apart, `size` of them.
struct DeviceGroup {
  std::int64_t size = 1;
  std::int64_t stride = 1;
};

class NetworkCost {
 public:
  NetworkCost(const Cluster& cluster, const ImplementationProfile& profile) : cluster_(cluster), profile_(profile) {}

  /// Seconds; `bytes` is the whole tensor, of which a rank has 1 / size.
  double all_gather_s(const DeviceGroup& group, double bytes) const { return collective_s(group, bytes, 1); }
  double reduce_scatter_s(const DeviceGroup& group, double bytes) const { return collective_s(group, bytes, 1); }
  double all_reduce_s(const DeviceGroup& group, double bytes) const { return collective_s(group, bytes, 2); }
  /// From a device to the one `stride` further, while all its neighbours send, too.
  double send_s(std::int64_t stride, double bytes) const;

  /// Bytes a second of each rank in a ring over the group.
  double ring_bytes_per_s(const DeviceGroup& group) const;

 private:
  double collective_s(const DeviceGroup& group, double bytes, double passes) const;
  bool inside_domain(const DeviceGroup& group) const {
    return group.size * group.stride <= cluster_.network.devices_per_domain;
  }

  const Cluster& cluster_;
  const ImplementationProfile& profile_;
};

}  // namespace baekji
