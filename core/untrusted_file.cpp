#include "core/untrusted_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, int code) {
  throw Error("cannot read a file").values("success", std::strerror(code)).at(path.string());
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

// Reading a socket's name fails before anybody can ask what it is.
bool names_socket(const fs::path& path) {
  std::error_code ignored;
  return fs::is_socket(path, ignored);
}

}  // namespace

RegularFile::RegularFile(const fs::path& path) {
  do {  // O_NONBLOCK: a FIFO opens at once; O_NOCTTY: a terminal stays another's
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (descriptor_ < 0 && errno == EINTR);
  struct stat status {};
  const int code = descriptor_ < 0 || ::fstat(descriptor_, &status) != 0 ? errno : 0;
  if (code == 0 && S_ISREG(status.st_mode)) {
    size_bytes_ = static_cast<std::int64_t>(status.st_size);
    return;
  }
  if (descriptor_ >= 0) ::close(descriptor_);
  const char* kind = names_socket(path) ? "a socket" : kind_of(status.st_mode);
  if (code != 0 && !names_socket(path)) fail(path, code);
  throw Error("not a regular file").values("a file", kind).at(path.string());
}

RegularFile::~RegularFile() {
  ::close(descriptor_);
}

void require_regular_file(const fs::path& path) {
  const RegularFile file(path);
}

std::string read_untrusted(const fs::path& path, std::int64_t most_bytes) {
  const RegularFile file(path);
  const auto too_large = [&](std::int64_t size) {
    throw Error("a file is larger than one of its kind can be")
        .values(fmt::format("at most {} bytes", most_bytes), fmt::format("{} bytes", size))
        .at(path.string());
  };
  if (file.size_bytes() > most_bytes) too_large(file.size_bytes());
  std::string bytes;
  bytes.reserve(static_cast<std::size_t>(file.size_bytes()));
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = ::read(file.descriptor(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, errno);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
    // It may grow while it is read, and files of the system say that they are empty.
    if (static_cast<std::int64_t>(bytes.size()) > most_bytes) too_large(static_cast<std::int64_t>(bytes.size()));
  }
}

bool read_line(std::istream& stream, std::string& line, const std::string& place, std::int64_t most_bytes) {
  using Traits = std::istream::traits_type;
  line.clear();
  const std::istream::sentry sentry(stream, true);
  if (!sentry) return false;
  while (true) {
    const Traits::int_type c = stream.rdbuf()->sbumpc();
    if (Traits::eq_int_type(c, Traits::eof())) {
      stream.setstate(line.empty() ? std::ios::eofbit | std::ios::failbit : std::ios::eofbit);
      return !line.empty();
    }
    if (Traits::to_char_type(c) == '\n') return true;
    if (static_cast<std::int64_t>(line.size()) == most_bytes) {
      throw Error("a line is longer than one of its kind can be")
          .values(fmt::format("at most {} bytes", most_bytes), "more")
          .at(place);
    }
    line.push_back(Traits::to_char_type(c));
  }
}

}  // namespace baekji
