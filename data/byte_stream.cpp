#include "data/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace baekji {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 18;

enum class Codec { kPlain, kGzip, kZstd };

Codec codec_of(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".gz" ? Codec::kGzip : extension == ".zst" ? Codec::kZstd : Codec::kPlain;
}

}  // namespace

struct ByteStream::State {
  explicit State(std::filesystem::path p) : path(std::move(p)), codec(codec_of(path)), buffer(kBufferBytes) {
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      throw Error("cannot open an input file").values("a readable file", std::strerror(errno)).at(path.string());
    struct stat status {};
    if (::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
      ::close(fd);
      throw Error("an input is a directory").values("a file", "a directory").at(path.string()).hint("name its files");
    }
    if (codec == Codec::kGzip) {
      gzip.next_in = nullptr;
      constexpr int kGzipHeaderOnly = 15 + 16;
      if (inflateInit2(&gzip, kGzipHeaderOnly) != Z_OK) throw Error("zlib cannot start").at(path.string());
    } else if (codec == Codec::kZstd) {
      zstd = ZSTD_createDStream();
      if (zstd == nullptr) throw Error("zstd cannot start").at(path.string());
    }
  }
  ~State() {
    if (codec == Codec::kGzip) inflateEnd(&gzip);
    if (zstd != nullptr) ZSTD_freeDStream(zstd);
    ::close(fd);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Refills an empty buffer; false at the end of the file.
  bool refill() {
    if (begin < end) return true;
    if (at_end) return false;
    ssize_t got = 0;
    do {
      got = ::read(fd, buffer.data(), buffer.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) throw Error("cannot read an input file").values("its bytes", std::strerror(errno)).at(path.string());
    const bool first = file_bytes == 0;
    begin = 0;
    end = static_cast<std::size_t>(got);
    at_end = got == 0;
    file_bytes += got;
    hash.add(std::as_bytes(std::span(buffer.data(), end)));
    if (first && codec == Codec::kPlain) refuse_compressed();
    return !at_end;
  }

  void refuse_compressed() const {
    const std::string_view start(buffer.data(), end);
    const bool is_gzip = start.starts_with("\x1f\x8b\x08");
    if (is_gzip || start.starts_with("\x28\xb5\x2f\xfd")) {
      throw Error("a compressed file without its extension")
          .values(fmt::format("text, or a name that ends in {}", is_gzip ? ".gz" : ".zst"), path.filename().string())
          .at(path.string())
          .hint("rename the file");
    }
  }

  [[noreturn]] void fail_truncated() const {
    throw Error("a compressed input file ends too early")
        .values("a whole compressed stream", fmt::format("{} bytes, then the end of the file", file_bytes))
        .at(path.string())
        .hint("the file is truncated: copy or download it again");
  }
  [[noreturn]] void fail_damaged(const std::string& reason) const {
    throw Error("a compressed input file is damaged")
        .values(codec == Codec::kGzip ? "gzip data" : "zstd data", reason)
        .at(path.string())
        .hint("copy or download it again");
  }

  std::size_t read_plain(std::span<char> out) {
    if (!refill()) return 0;
    const std::size_t count = std::min(out.size(), end - begin);
    std::memcpy(out.data(), buffer.data() + begin, count);
    begin += count;
    return count;
  }

  std::size_t read_gzip(std::span<char> out) {
    gzip.next_out = reinterpret_cast<Bytef*>(out.data());
    gzip.avail_out = static_cast<uInt>(std::min(out.size(), kBufferBytes));
    const uInt wanted = gzip.avail_out;
    while (gzip.avail_out == wanted) {
      if (!refill()) {
        if (in_stream || file_bytes == 0) fail_truncated();
        return 0;
      }
      if (!in_stream) {  // several members in one file are one text (RFC 1952, 2.2)
        if (inflateReset(&gzip) != Z_OK) fail_damaged("zlib cannot reset");
        in_stream = true;
      }
      gzip.next_in = reinterpret_cast<Bytef*>(buffer.data() + begin);
      gzip.avail_in = static_cast<uInt>(end - begin);
      const int status = inflate(&gzip, Z_NO_FLUSH);
      begin = end - gzip.avail_in;
      if (status == Z_STREAM_END)
        in_stream = false;
      else if (status != Z_OK && status != Z_BUF_ERROR)
        fail_damaged(gzip.msg == nullptr ? "an error" : gzip.msg);
    }
    return wanted - gzip.avail_out;
  }

  std::size_t read_zstd(std::span<char> out) {
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos == 0) {
      // Bytes may still wait inside the decoder when the file is at its end.
      const bool more = refill();
      if (!more && !in_stream) {
        if (file_bytes == 0) fail_truncated();
        return 0;
      }
      ZSTD_inBuffer input{buffer.data() + begin, end - begin, 0};
      const std::size_t status = ZSTD_decompressStream(zstd, &output, &input);
      if (ZSTD_isError(status) != 0) fail_damaged(ZSTD_getErrorName(status));
      begin += input.pos;
      in_stream = status != 0;
      if (!more && output.pos == 0 && in_stream) fail_truncated();
    }
    return output.pos;
  }

  std::filesystem::path path;
  Codec codec;
  int fd = -1;
  std::vector<char> buffer;
  std::size_t begin = 0, end = 0;
  bool at_end = false;
  bool in_stream = false;  // inside a gzip member or zstd frame
  std::int64_t file_bytes = 0;
  Sha256 hash;
  z_stream gzip{};
  ZSTD_DStream* zstd = nullptr;
};

ByteStream::ByteStream(const std::filesystem::path& path) : state_(std::make_unique<State>(path)) {}
ByteStream::~ByteStream() = default;
ByteStream::ByteStream(ByteStream&&) noexcept = default;
ByteStream& ByteStream::operator=(ByteStream&&) noexcept = default;

std::size_t ByteStream::read(std::span<char> out) {
  switch (state_->codec) {
    case Codec::kGzip:
      return state_->read_gzip(out);
    case Codec::kZstd:
      return state_->read_zstd(out);
    case Codec::kPlain:
      break;
  }
  return state_->read_plain(out);
}

std::int64_t ByteStream::file_bytes_read() const {
  return state_->file_bytes;
}
Digest ByteStream::file_digest() {
  return state_->hash.finish();
}

}  // namespace baekji
