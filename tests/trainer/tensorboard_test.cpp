// Event files, taken apart again by an own decoder of the public format; CRC-32C by the vectors of RFC 3720.

#include "trainer/tensorboard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

namespace baekji {
namespace {

struct Event {
  double wall_time_s = 0;
  std::int64_t step = 0;
  std::string file_version;
  std::optional<std::uint64_t> session_status;
  std::map<std::string, float> values;
};

// Reads protocol-buffer fields one after another.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}
  bool next() {
    if (rest_.empty()) return false;
    const std::uint64_t key = varint();
    field = key >> 3;
    switch (key & 7) {
      case 0:
        number = varint();
        break;
      case 1:
        payload = take(8);
        break;
      case 2:
        payload = take(varint());
        break;
      case 5:
        payload = take(4);
        break;
      default:
        throw std::runtime_error("unknown wire type");
    }
    return true;
  }
  template <class T>
  T as() const {
    T value{};
    if (payload.size() != sizeof value) throw std::runtime_error("wrong width");
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
  }

  std::uint64_t field = 0;
  std::uint64_t number = 0;
  std::string_view payload;

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) throw std::runtime_error("truncated");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::string_view rest_;
};

Event decode_event(std::string_view bytes) {
  Event event;
  for (Fields f(bytes); f.next();) {
    if (f.field == 1) event.wall_time_s = f.as<double>();
    if (f.field == 2) event.step = static_cast<std::int64_t>(f.number);
    if (f.field == 3) event.file_version = f.payload;
    if (f.field == 7) {
      Fields log(f.payload);
      log.next();
      event.session_status = log.number;
    }
    if (f.field != 5) continue;
    for (Fields summary(f.payload); summary.next();) {
      std::string tag;
      float value = 0;
      for (Fields v(summary.payload); v.next();) {
        if (v.field == 1) tag = v.payload;
        if (v.field == 2) value = v.as<float>();
      }
      event.values[tag] = value;
    }
  }
  return event;
}

// CRC-32C bit by bit, the definition: independent of the table in the code under test.
std::uint32_t slow_crc(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc & 1U) != 0 ? (crc >> 1) ^ 0x82F63B78U : crc >> 1;
  }
  return ~crc;
}
std::uint32_t mask(std::uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

std::vector<Event> decode_file(const std::string& bytes) {
  std::vector<Event> events;
  std::string_view rest(bytes);
  while (!rest.empty()) {
    std::uint64_t length = 0;
    std::uint32_t length_crc = 0;
    std::uint32_t data_crc = 0;
    if (rest.size() < 12) throw std::runtime_error("truncated header");
    std::memcpy(&length, rest.data(), 8);
    std::memcpy(&length_crc, rest.data() + 8, 4);
    EXPECT_EQ(length_crc, mask(slow_crc(rest.substr(0, 8))));
    const std::string_view data = rest.substr(12, length);
    std::memcpy(&data_crc, rest.data() + 12 + length, 4);
    EXPECT_EQ(data_crc, mask(slow_crc(data)));
    events.push_back(decode_event(data));
    rest.remove_prefix(16 + length);
  }
  return events;
}

class TensorBoardTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / "tensorboard_test";
    files_.remove_all(folder_);
  }
  FileSystem& files_ = posix_file_system();
  std::filesystem::path folder_;
};

TEST(Crc32cTest, Rfc3720Vectors) {
  std::string ascending;
  std::string descending;
  for (int i = 0; i < 32; ++i) {
    ascending.push_back(static_cast<char>(i));
    descending.push_back(static_cast<char>(31 - i));
  }
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
  EXPECT_EQ(crc32c(descending), 0x113FDB5CU);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST_F(TensorBoardTest, ScalarsReadBack) {
  double clock_s = 1.7e9;
  TensorBoardWriter writer({.files = files_, .folder = folder_, .now_s = [&] { return clock_s += 0.5; }});
  writer.scalars(1, {{"train/loss", 8.25}, {"train/learning_rate", 3e-4}});
  writer.scalars(300, {{"validation/korean", 5.5}});
  const std::vector<Event> events = decode_file(files_.read(writer.path()));
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_EQ(events[1].step, 1);
  EXPECT_EQ(events[1].values, (std::map<std::string, float>{{"train/loss", 8.25F}, {"train/learning_rate", 3e-4F}}));
  EXPECT_EQ(events[2].step, 300);
  EXPECT_EQ(events[2].values.at("validation/korean"), 5.5F);
  EXPECT_EQ(events[2].wall_time_s, 1.7e9 + 1.5);
  EXPECT_NE(writer.path().filename().string().find("tfevents"), std::string::npos);  // how TensorBoard finds its files
}

TEST_F(TensorBoardTest, ResumeMarksASessionStart) {
  double clock_s = 1.7e9;
  const auto now_s = [&] { return clock_s; };
  const TensorBoardWriter first({.files = files_, .folder = folder_, .now_s = now_s});
  clock_s += 60;
  const TensorBoardWriter second({.files = files_, .folder = folder_, .resumed_step = 40, .now_s = now_s});
  EXPECT_LT(first.path().string(), second.path().string());
  const std::vector<Event> events = decode_file(files_.read(second.path()));
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].step, 41);
  EXPECT_EQ(events[1].session_status, 1U);
}

}  // namespace
}  // namespace baekji
