// Files that ranks of a job leave for each other. Every file appears whole, by renaming.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "core/error.h"
#include "parallel/rendezvous_ways.h"

namespace baekji {

std::string list_ranks(const std::vector<int>& ranks) {
  constexpr std::ptrdiff_t kMost = 16;
  const std::ptrdiff_t shown = std::min(std::ssize(ranks), kMost);
  std::string text =
      fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks.begin(), ranks.begin() + shown, ", "));
  if (std::ssize(ranks) > shown) text += fmt::format(" and {} others", std::ssize(ranks) - shown);
  return text;
}

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kFileMagic = "baekji rendezvous 1";
constexpr auto kPause = std::chrono::milliseconds(20);

// A number that no other start has: of this process, this moment, and the time since its machine started.
std::string fresh_number() {
  return fmt::format("{:016x}{:016x}{:08x}", std::chrono::system_clock::now().time_since_epoch().count(),
                     Clock::now().time_since_epoch().count(), getpid());
}

class FileMeeting {
 public:
  explicit FileMeeting(const FileRendezvous& args) : args_(args), number_(fresh_number()) {}

  std::string as_rank_0(const std::string& blob) {
    std::map<int, std::string> written;
    for (;;) {
      const std::map<int, std::string> numbers = numbers_of_ranks();
      for (const auto& [rank, number] : numbers) seen_[rank] = number;
      // Files that have gone were taken away by ranks that have read the blob.
      if (!written.empty() && numbers.empty()) break;
      if (std::ssize(seen_) == args_.here.size - 1 && seen_ != written) {
        write(args_.path, text_of(blob));
        written = seen_;
      }
      if (late()) refuse_as_rank_0(numbers);
      std::this_thread::sleep_for(kPause);
    }
    std::error_code ignored;
    fs::remove(args_.path, ignored);
    return blob;
  }

  std::string as_another() {
    const std::string mine = path_of(args_.here.rank);
    write(mine, number_);
    const std::string line = fmt::format("\n{} {}\n", args_.here.rank, number_);
    for (;;) {
      const std::string text = read(args_.path);
      const std::size_t end = text.find("\n\n");
      // Without this rank's number it is of another start, or was written before this rank came.
      if (text.starts_with(kFileMagic) && end != std::string::npos && text.find(line) <= end) {
        std::error_code ignored;
        fs::remove(mine, ignored);
        return text.substr(end + 2);
      }
      if (late()) refuse_as_another(!text.empty());
      std::this_thread::sleep_for(kPause);
    }
  }

 private:
  std::string path_of(int rank) const { return fmt::format("{}.rank-{}", args_.path, rank); }
  bool late() const { return std::chrono::duration<double>(Clock::now() - start_).count() > args_.limit_s; }

  std::string text_of(const std::string& blob) const {
    std::string text(kFileMagic);
    for (const auto& [rank, number] : seen_) text += fmt::format("\n{} {}", rank, number);
    return text + "\n\n" + blob;
  }

  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  void write(const std::string& path, const std::string& text) const {
    const std::string whole = path + ".part";
    std::ofstream file(whole, std::ios::binary | std::ios::trunc);
    file << text;
    file.close();
    std::error_code failure;
    if (file) fs::rename(whole, path, failure);
    if (file && !failure) return;
    throw Error("the rendezvous cannot be written")
        .values("a folder that every rank may write to", failure ? failure.message() : "a failure to write")
        .at(path)
        .hint("layout.rendezvous = \"file:PATH\" needs a file system that all machines share");
  }
  std::map<int, std::string> numbers_of_ranks() const {
    std::map<int, std::string> numbers;
    for (int rank = 1; rank < args_.here.size; ++rank) {
      std::string number = read(path_of(rank));
      if (!number.empty()) numbers.emplace(rank, std::move(number));
    }
    return numbers;
  }

  [[noreturn]] void refuse_as_rank_0(const std::map<int, std::string>& numbers) const {
    std::vector<int> missing;
    std::vector<int> silent;
    for (int rank = 1; rank < args_.here.size; ++rank) {
      if (!seen_.contains(rank)) missing.push_back(rank);
      if (numbers.contains(rank)) silent.push_back(rank);
    }
    std::error_code ignored;
    fs::remove(args_.path, ignored);
    const std::string who = missing.empty() ? "files of an earlier start, or no more, of " + list_ranks(silent)
                                            : "no file of " + list_ranks(missing);
    throw Error("ranks of the job are missing")
        .values(fmt::format("{} ranks within {} s", args_.here.size, args_.limit_s), who)
        .at(fmt::format("rank 0, layout.rendezvous = \"file:{}\"", args_.path))
        .hint("look at what those ranks say; every rank needs the same PATH on a file system that they share");
  }
  [[noreturn]] void refuse_as_another(bool stale) const {
    std::vector<int> missing;
    for (int rank = 1; rank < args_.here.size; ++rank) {
      if (read(path_of(rank)).empty()) missing.push_back(rank);
    }
    // This rank's file stays: others may still look who has come.
    std::string who = missing.empty() ? "nothing of rank 0" : "no file of " + list_ranks(missing);
    if (stale) who += "; the file there is of an earlier start";
    throw Error("ranks of the job are missing")
        .values(fmt::format("{} ranks within {} s", args_.here.size, args_.limit_s), who)
        .at(fmt::format("rank {}, layout.rendezvous = \"file:{}\"", args_.here.rank, args_.path))
        .hint("look at what those ranks say; every rank needs the same PATH on a file system that they share");
  }

  const FileRendezvous& args_;
  std::string number_;
  std::map<int, std::string> seen_;  // rank 0: the newest number of each other rank
  Clock::time_point start_ = Clock::now();
};

}  // namespace

std::string share_by_file(const FileRendezvous& args, const std::string& blob) {
  FileMeeting meeting(args);
  return args.here.rank == 0 ? meeting.as_rank_0(blob) : meeting.as_another();
}

}  // namespace baekji
