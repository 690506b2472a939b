#include "trainer/tensorboard.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <chrono>

#include "core/digest.h"

namespace baekji {
namespace {

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  constexpr std::uint32_t kReversedPolynomial = 0x82F63B78U;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kReversedPolynomial : 0U);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U;
}

// Protocol-buffer wire types (developers.google.com/protocol-buffers/docs/encoding).
enum Wire : std::uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

class Message {
 public:
  Message& fixed64(std::uint64_t field, double value) {
    varint(field << 3 | kFixed64);
    append_little_endian(bytes_, std::bit_cast<std::uint64_t>(value));
    return *this;
  }
  Message& fixed32(std::uint64_t field, float value) {
    varint(field << 3 | kFixed32);
    append_little_endian(bytes_, std::bit_cast<std::uint32_t>(value));
    return *this;
  }
  Message& integer(std::uint64_t field, std::int64_t value) {
    varint(field << 3 | kVarint);
    varint(static_cast<std::uint64_t>(value));
    return *this;
  }
  Message& bytes(std::uint64_t field, std::string_view value) {
    varint(field << 3 | kBytes);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& data() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>((value & 0x7F) | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }

  std::string bytes_;
};

// Field numbers of event.proto and summary.proto.
constexpr std::uint64_t kEventWallTime = 1;
constexpr std::uint64_t kEventStep = 2;
constexpr std::uint64_t kEventFileVersion = 3;
constexpr std::uint64_t kEventSummary = 5;
constexpr std::uint64_t kEventSessionLog = 7;
constexpr std::uint64_t kSummaryValue = 1;
constexpr std::uint64_t kValueTag = 1;
constexpr std::uint64_t kValueSimpleValue = 2;
constexpr std::uint64_t kSessionLogStatus = 1;
constexpr std::int64_t kSessionStart = 1;

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<std::uint8_t>(byte)) & 0xFFU];
  return crc ^ 0xFFFFFFFFU;
}

std::string tfrecord(std::string_view data) {
  std::string record;
  append_little_endian(record, std::uint64_t{data.size()});
  append_little_endian(record, masked_crc(record));
  record += data;
  append_little_endian(record, masked_crc(data));
  return record;
}

TensorBoardWriter::TensorBoardWriter(const Args& args) : now_s_(args.now_s ? args.now_s : system_seconds) {
  args.files.create_directories(args.folder);
  const double start_s = now_s_();
  // TensorBoard reads the files of a folder in the order of their names. Two starts in one second share a file: records
  // may simply follow one another.
  path_ = args.folder /
          fmt::format("events.out.tfevents.{:010}.{:09}.baekji", static_cast<std::int64_t>(start_s), args.resumed_step);
  file_ = args.files.open_append(path_);
  file_->append(tfrecord(Message().fixed64(kEventWallTime, start_s).bytes(kEventFileVersion, "brain.Event:2").data()));
  if (args.resumed_step > 0) {
    file_->append(tfrecord(Message()
                               .fixed64(kEventWallTime, start_s)
                               .integer(kEventStep, args.resumed_step + 1)
                               .bytes(kEventSessionLog, Message().integer(kSessionLogStatus, kSessionStart).data())
                               .data()));
  }
}

void TensorBoardWriter::scalars(std::int64_t step, const std::map<std::string, double>& values) {
  Message summary;
  for (const auto& [tag, value] : values) {
    summary.bytes(kSummaryValue,
                  Message().bytes(kValueTag, tag).fixed32(kValueSimpleValue, static_cast<float>(value)).data());
  }
  file_->append(tfrecord(Message()
                             .fixed64(kEventWallTime, now_s_())
                             .integer(kEventStep, step)
                             .bytes(kEventSummary, summary.data())
                             .data()));
}

}  // namespace baekji
