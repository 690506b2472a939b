#include "proof/beacon.h"

#include <array>

#include "core/error.h"

namespace baekji {
namespace {

constexpr std::int64_t kValueBytes = 32;  // of either network

struct Beacon {
  std::string_view name;
  std::int64_t genesis_s;
  std::int64_t period_s;
  std::int64_t value_bytes;
};
// The two public networks of the League of Entropy (https://docs.drand.love).
constexpr std::array<Beacon, 2> kBeacons{
    {{"drand-quicknet", 1692803367, 3, kValueBytes}, {"drand-default", 1595431050, 30, kValueBytes}}};

const Beacon& beacon_named(const std::string& name) {
  for (const Beacon& beacon : kBeacons) {
    if (beacon.name == name) return beacon;
  }
  throw Error("that beacon is not known").values("drand-quicknet or drand-default", name).at("experiment.beacon");
}

}  // namespace

std::int64_t beacon_time_s(const std::string& name, std::int64_t round) {
  const Beacon& beacon = beacon_named(name);
  return beacon.genesis_s + beacon.period_s * (round - 1);
}

std::int64_t beacon_value_bytes(const std::string& name) {
  return beacon_named(name).value_bytes;
}

std::uint64_t seed_from_beacon(const Digest& contract, std::string_view value) {
  if (std::ssize(value) != kValueBytes) {
    throw Error("not the value of a beacon's round")
        .values(fmt::format("{} bytes", kValueBytes), fmt::format("{} bytes", value.size()))
        .at("the beacon's value");
  }
  Sha256 hash;
  const Digest digest = hash.add(std::as_bytes(std::span(contract))).add(value).finish();
  std::uint64_t seed = 0;
  for (std::size_t i = 8; i-- > 0;) seed = seed << 8U | digest[i];
  return seed;
}

}  // namespace baekji
