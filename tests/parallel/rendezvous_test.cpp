// How ranks find each other without MPI. Ranks are threads; what they leave behind in files and ports is real.

#include "parallel/rendezvous.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;

// With zeros and blank lines, as a unique id may have.
const std::string kBlob{"a\0b\n\nc\n\n", 8};

struct Job {
  std::string place;
  int size = 3;
  double limit_s = 20;
  std::vector<int> absent = {};
  std::vector<double> delays_s = {};  // by rank
};

// What each rank got: the blob, or the text of its error.
std::vector<std::string> run(const Job& job) {
  std::vector<std::string> results(static_cast<std::size_t>(job.size));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < job.size; ++rank) {
    if (std::find(job.absent.begin(), job.absent.end(), rank) != job.absent.end()) continue;
    threads.emplace_back([&, rank] {
      const auto at = static_cast<std::size_t>(rank);
      if (at < job.delays_s.size()) std::this_thread::sleep_for(std::chrono::duration<double>(job.delays_s[at]));
      try {
        const RendezvousArgs args{.place = job.place, .here = {.rank = rank, .size = job.size}, .limit_s = job.limit_s};
        results[at] = share_blob(args, rank == 0 ? kBlob : "another blob, which nobody may get");
      } catch (const Error& error) {
        results[at] = error.what();
      }
    });
  }
  threads.clear();
  return results;
}

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / fmt::format("baekji_rendezvous_{}", getpid())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string place() const { return "file:" + file(); }
  std::string file() const { return path_ / "meet"; }
  bool empty() const { return fs::is_empty(path_); }

 private:
  fs::path path_;
};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A port that was free a moment ago.
int free_port() {
  const int handle = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  void* const any = &address;
  bind(handle, static_cast<const sockaddr*>(any), size);
  getsockname(handle, static_cast<sockaddr*>(any), &size);
  close(handle);
  return ntohs(address.sin_port);
}

std::string tcp_place(const std::string& host, int port) {
  return fmt::format("tcp:{}:{}", host, port);
}

TEST(Rendezvous, AFileBringsTheBlobToEveryRank) {
  const Folder folder;
  EXPECT_THAT(run({.place = folder.place(), .size = 1}), Each(kBlob));
  EXPECT_THAT(run({.place = folder.place(), .size = 5}), Each(kBlob));
  EXPECT_THAT(run({.place = folder.place(), .delays_s = {0.3, 0, 0.1}}), Each(kBlob));
  EXPECT_THAT(run({.place = folder.place(), .delays_s = {0, 0.3, 0.1}}), Each(kBlob));
  EXPECT_TRUE(folder.empty());  // nothing is left for the next start
}

TEST(Rendezvous, FilesOfAnEarlierStartAreNotTaken) {
  const Folder folder;
  // Of a job that ended in the middle: the meeting file, with numbers and a blob, and a number of rank 2.
  write(folder.file(), "baekji rendezvous 1\n1 abc\n2 def\n\nan old blob");
  write(folder.file() + ".rank-2", "def");
  EXPECT_THAT(run({.place = folder.place(), .delays_s = {0, 0.1, 0.4}}), Each(kBlob));
  EXPECT_TRUE(folder.empty());
}

TEST(Rendezvous, MissingRanksAreNamedByTheOthers) {
  const Folder folder;
  auto results = run({.place = folder.place(), .size = 4, .limit_s = 0.5, .absent = {2}});
  for (const int rank : {0, 1, 3})
    EXPECT_THAT(results[static_cast<std::size_t>(rank)], AllOf(HasSubstr("4 ranks within 0.5 s"), HasSubstr("rank 2")));
  results = run({.place = folder.place(), .limit_s = 0.5, .absent = {0}});
  EXPECT_THAT(results[1], HasSubstr("nothing of rank 0"));
  // Only its file of an earlier start is there.
  write(folder.file() + ".rank-2", "def");
  results = run({.place = folder.place(), .limit_s = 0.5, .absent = {2}});
  EXPECT_THAT(results[0], AllOf(HasSubstr("an earlier start"), HasSubstr("rank 2")));
  // Rank 1 cannot know: its number was answered.
  write(folder.file(), "baekji rendezvous 1\n1 abc\n\nan old blob");
  results = run({.place = folder.place(), .limit_s = 0.5, .absent = {0, 2}});
  EXPECT_THAT(results[1], HasSubstr("the file there is of an earlier start"));
}

TEST(Rendezvous, AFolderThatIsNotThereIsNamed) {
  EXPECT_THAT(run({.place = "file:/no/such/folder/meet", .limit_s = 0.5})[1],
              AllOf(HasSubstr("cannot be written"), HasSubstr("/no/such/folder/meet.rank-1")));
}

TEST(Rendezvous, TcpBringsTheBlobToEveryRank) {
  EXPECT_THAT(run({.place = tcp_place("127.0.0.1", free_port()), .size = 5}), Each(kBlob));
  EXPECT_THAT(run({.place = tcp_place("localhost", free_port()), .delays_s = {0.3, 0, 0.1}}), Each(kBlob));
}

TEST(Rendezvous, TcpOverIpv6) {
  const int handle = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  void* const any = &address;
  const bool there = handle >= 0 && bind(handle, static_cast<const sockaddr*>(any), sizeof address) == 0;
  if (handle >= 0) close(handle);
  if (!there) GTEST_SKIP() << "no IPv6 on this machine";
  EXPECT_THAT(run({.place = tcp_place("[::1]", free_port())}), Each(kBlob));
}

TEST(Rendezvous, MissingRanksAreNamedOverTcp) {
  const auto results = run({.place = tcp_place("127.0.0.1", free_port()), .size = 4, .limit_s = 0.7, .absent = {2}});
  EXPECT_THAT(results[0], AllOf(HasSubstr("4 ranks within 0.7 s"), HasSubstr("nothing of rank 2")));
  EXPECT_THAT(results[1], AnyOf(HasSubstr("nothing of rank 2"), HasSubstr("rank 0 of the job is missing")));
  const auto without = run({.place = tcp_place("127.0.0.1", free_port()), .limit_s = 0.5, .absent = {0}});
  EXPECT_THAT(without[1], AllOf(HasSubstr("rank 0 of the job is missing"), HasSubstr("within 0.5 s")));
  EXPECT_THAT(run({.place = "tcp:no-such-host.invalid:29500", .limit_s = 0.5, .absent = {0}})[1],
              HasSubstr("rank 0 of the job is missing"));
}

TEST(Rendezvous, StrangersAtThePortDisturbNobody) {
  const int port = free_port();
  std::jthread stranger([port] {
    for (int i = 0; i < 20; ++i) {
      const int handle = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<std::uint16_t>(port));
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      const void* const any = &address;
      if (connect(handle, static_cast<const sockaddr*>(any), sizeof address) == 0) {
        const std::string text = "GET / HTTP/1.0\r\n\r\n";
        send(handle, text.data(), text.size(), MSG_NOSIGNAL);
      }
      close(handle);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  EXPECT_THAT(run({.place = tcp_place("127.0.0.1", port), .delays_s = {0, 0.1, 0.3}}), Each(kBlob));
}

TEST(Rendezvous, ARankOfAJobOfAnotherSizeIsNamed) {
  const std::string place = tcp_place("127.0.0.1", free_port());
  std::string other;
  std::jthread thread([&] {
    try {
      share_blob({.place = place, .here = {.rank = 4, .size = 8}, .limit_s = 10}, "");
    } catch (const Error& error) {
      other = error.what();
    }
  });
  const auto results = run({.place = place, .size = 3, .limit_s = 10, .absent = {1, 2}});
  thread.join();
  EXPECT_THAT(results[0], AllOf(HasSubstr("another job"), HasSubstr("rank 4 of 8")));
  EXPECT_THAT(other, HasSubstr("rank 4 of 8"));
}

TEST(Rendezvous, PlacesAreChecked) {
  const auto problem = [](const std::string& place) {
    try {
      check_rendezvous(place, "here");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  for (const char* const good : {"file:/a", "tcp:host:1", "tcp:[::1]:29500", "tcp:10.0.0.1:65535"})
    EXPECT_EQ(problem(good), "none") << good;
  for (const char* const bad : {"", "file:", "tcp:host", "tcp::1", "tcp:host:", "tcp:host:x", "tcp:host:65536", "mpi"})
    EXPECT_THAT(problem(bad), AllOf(HasSubstr("no such rendezvous"), HasSubstr("here"))) << bad;
}

class Environment : public ::testing::Test {
 protected:
  Environment() { clear(); }
  ~Environment() override { clear(); }
  static void clear() {
    for (const char* const name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_PROCID",
                                   "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"})
      unsetenv(name);
  }
  static void set(const char* name, const char* value) { setenv(name, value, 1); }
  static std::string problem() {
    try {
      rank_from_environment();
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }
};

TEST_F(Environment, TorchrunAndSlurmSayWhoARankIs) {
  EXPECT_THAT(problem(), AllOf(HasSubstr("RANK and WORLD_SIZE"), HasSubstr("neither in the environment")));
  set("SLURM_PROCID", "5");
  set("SLURM_NTASKS", "8");
  set("SLURM_LOCALID", "1");
  EXPECT_EQ(rank_from_environment().rank, 5);
  EXPECT_EQ(rank_from_environment().local_rank, 1);
  EXPECT_EQ(rank_from_environment().local_size, 2);  // at least
  set("SLURM_NTASKS_PER_NODE", "8");
  EXPECT_EQ(rank_from_environment().local_size, 8);
  set("RANK", "2");
  set("WORLD_SIZE", "4");
  EXPECT_EQ(rank_from_environment().rank, 2);  // torchrun inside a Slurm job
  EXPECT_EQ(rank_from_environment().size, 4);
  EXPECT_EQ(rank_from_environment().local_rank, 0);
  set("RANK", "4");
  EXPECT_THAT(problem(), HasSubstr("RANK below WORLD_SIZE = 4"));
  set("RANK", "two");
  EXPECT_THAT(problem(), HasSubstr("is not a number"));
}

}  // namespace
}  // namespace baekji
