#include "checkpoint/file_digest.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/background_job.h"
#include "core/error.h"
#include "core/untrusted_file.h"

namespace baekji {

Digest file_digest(const std::filesystem::path& path, const std::stop_token& stop) {
  constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
  const auto fail = [&] {
    throw Error("cannot read a file").values("its bytes", std::strerror(errno)).at(path.string());
  };
  const RegularFile file(path);
  std::vector<std::byte> buffer(kPieceBytes);
  Sha256 hash;
  while (true) {
    give_up_if_asked(stop, path.string());
    const ssize_t n = ::read(file.descriptor(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail();
    if (n == 0) return hash.finish();
    hash.add(std::span(buffer.data(), static_cast<std::size_t>(n)));
  }
}

}  // namespace baekji
