#include "parallel/device_staging.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace baekji {

DeviceStaging::Room::Room(Device place, Device other, std::int64_t size_bytes)
    : place_(place), size_bytes_(size_bytes), host_(other, place.is_host() ? size_bytes : 0) {
  if (place.is_host() || size_bytes == 0) return;
  device_data_ = allocate_memory(place, size_bytes);
  if (device_data_ != nullptr) return;
  throw Error("out of memory")
      .values(fmt::format("{} bytes for an exchange between ranks", size_bytes), "refused")
      .at(place.describe());
}

DeviceStaging::Room::~Room() {
  if (device_data_ != nullptr) free_memory(place_, device_data_, size_bytes_);
}

void DeviceStaging::Room::swap(Room& room) noexcept {
  std::swap(place_, room.place_);
  std::swap(size_bytes_, room.size_bytes_);
  std::swap(host_, room.host_);
  std::swap(device_data_, room.device_data_);
}

// The old room goes before the new one is asked for: it may be what is in the way.
Tensor DeviceStaging::in_room(Room& room, const Tensor& original, Device place) {
  if (!room.fits(place, original.size_bytes())) {
    room = Room();
    room = Room(place, original.device(), original.size_bytes());
  }
  return {room.data(), original.type(), {original.size()}, place};
}

void DeviceStaging::copy(const Tensor& from, const Tensor& to) {
  copy_memory({to.data(), to.device()}, {from.data(), from.device()}, from.size_bytes());
}

Tensor DeviceStaging::input(const Tensor& original, Device place) {
  const Tensor result = in_room(input_, original, place);
  copy(original, result);
  return result;
}

Tensor DeviceStaging::output(const Tensor& original, Device place) {
  return in_room(output_, original, place);
}

// The smallest that fits, or else the largest there is, which then grows.
DeviceStaging::Room DeviceStaging::take_spare(const Tensor& original, Device place) {
  if (spare_.empty()) return {};
  const auto smaller = [](const Room& a, const Room& b) { return a.size_bytes() < b.size_bytes(); };
  std::sort(spare_.begin(), spare_.end(), smaller);
  auto chosen = std::find_if(spare_.begin(), spare_.end(),
                             [&](const Room& room) { return room.fits(place, original.size_bytes()); });
  if (chosen == spare_.end()) chosen = std::prev(spare_.end());
  Room room = std::move(*chosen);
  spare_.erase(chosen);
  return room;
}

Tensor DeviceStaging::sending(const Tensor& original, Device place) {
  Room room = take_spare(original, place);
  const Tensor result = in_room(room, original, place);
  copy(original, result);
  sent_.push_back(std::move(room));
  return result;
}

void DeviceStaging::sends_finished(std::size_t under_way) {
  while (sent_.size() > under_way) {
    if (sent_.front().size_bytes() > 0) spare_.push_back(std::move(sent_.front()));
    sent_.pop_front();
  }
}

}  // namespace baekji
