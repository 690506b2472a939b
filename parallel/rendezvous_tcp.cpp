// Ranks of a job that meet at a port of rank 0's machine.

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/types.h"
#include "parallel/rendezvous_ways.h"

namespace baekji {
namespace {

using Clock = std::chrono::steady_clock;

// What a rank says when it connects, and what precedes rank 0's answer; in network order.
struct Hello {
  std::array<char, 8> magic{};
  std::uint32_t rank = 0;
  std::uint32_t size = 0;
};
struct Answer {
  std::array<char, 8> magic{};
  std::uint32_t refused = 0;  ///< what follows is why
  std::uint32_t size_bytes = 0;
};
constexpr std::array<char, 8> kTcpMagic{'b', 'a', 'e', 'k', 'j', 'i', ' ', '1'};
constexpr std::uint32_t kLongestAnswer = 1 << 20;

class Deadline {
 public:
  explicit Deadline(double seconds)
      : end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {}
  bool passed() const { return Clock::now() >= end_; }
  /// The earlier of this one and `seconds` from now.
  Deadline or_after(double seconds) const {
    const Deadline other(seconds);
    return other.end_ < end_ ? other : *this;
  }
  int left_ms() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
  }

 private:
  Clock::time_point end_;
};

class Socket {
 public:
  explicit Socket(int handle = -1) : handle_(handle) {}
  ~Socket() {
    if (handle_ >= 0) close(handle_);
  }
  Socket(Socket&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int get() const { return handle_; }
  bool open() const { return handle_ >= 0; }
  bool ready(short events, const Deadline& deadline) const {
    pollfd wanted{.fd = handle_, .events = events, .revents = 0};
    int came = 0;
    do came = poll(&wanted, 1, deadline.left_ms());
    while (came < 0 && errno == EINTR);
    return came > 0;
  }
  // The sockets do not block: a peer that stops in the middle is late, not a hang.
  bool send_all(const void* data, std::size_t size, const Deadline& deadline) const {
    const auto* next = static_cast<const char*>(data);
    while (size > 0) {
      if (!ready(POLLOUT, deadline)) return false;
      const ssize_t sent = send(handle_, next, size, MSG_NOSIGNAL);
      if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (sent <= 0) return false;
      next += sent;
      size -= static_cast<std::size_t>(sent);
    }
    return true;
  }
  bool receive_all(void* data, std::size_t size, const Deadline& deadline) const {
    auto* next = static_cast<char*>(data);
    while (size > 0) {
      if (!ready(POLLIN, deadline)) return false;
      const ssize_t came = recv(handle_, next, size, 0);
      if (came < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (came <= 0) return false;
      next += came;
      size -= static_cast<std::size_t>(came);
    }
    return true;
  }

 private:
  int handle_;
};

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

// Null with `problem` set when the name is unknown.
Addresses find_addresses(const char* host, const std::string& port, std::string& problem) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV | (host == nullptr ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host, port.c_str(), &wanted, &found);
  if (code != 0) problem = gai_strerror(code);
  return {code == 0 ? found : nullptr, &freeaddrinfo};
}

Socket socket_for(const addrinfo& address) {
  return Socket(socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol));
}

std::string place_of(const TcpRendezvous& args) {
  return fmt::format("rank {}, layout.rendezvous = \"tcp:{}:{}\"", args.here.rank, args.host, args.port);
}

// On every address of the machine: the name that others know it by may be another one here. IPv6 with IPv4 where there
// is such a thing.
Socket listen_at(const TcpRendezvous& args) {
  std::string problem;
  const Addresses all = find_addresses(nullptr, args.port, problem);
  for (const int family : {AF_INET6, AF_INET}) {
    for (const addrinfo* address = all.get(); address != nullptr; address = address->ai_next) {
      if (address->ai_family != family) continue;
      Socket result = socket_for(*address);
      const int on = 1;
      const int off = 0;
      setsockopt(result.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (family == AF_INET6) setsockopt(result.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      if (bind(result.get(), address->ai_addr, address->ai_addrlen) == 0 && listen(result.get(), SOMAXCONN) == 0)
        return result;
      problem = std::strerror(errno);
    }
  }
  throw Error("rank 0 cannot listen for the others")
      .values("a free port", problem)
      .at(place_of(args))
      .hint("choose another port");
}

bool say(const Socket& to, bool refused, const std::string& text, const Deadline& deadline) {
  const Answer answer{
      .magic = kTcpMagic, .refused = htonl(refused ? 1 : 0), .size_bytes = htonl(narrow<std::uint32_t>(text.size()))};
  return to.send_all(&answer, sizeof answer, deadline) && to.send_all(text.data(), text.size(), deadline);
}

class Host {
 public:
  explicit Host(const TcpRendezvous& args) : args_(args), listener_(listen_at(args)) {}

  std::string share(const std::string& blob) {
    const Deadline deadline(args_.limit_s);
    while (std::ssize(ranks_) < args_.here.size - 1) {
      if (deadline.passed() || !listener_.ready(POLLIN, deadline)) refuse_late();
      take(deadline);
    }
    std::vector<int> lost;
    constexpr double kPatience_s = 10;
    for (const auto& [rank, connection] : ranks_) {
      if (!say(connection, false, blob, Deadline(kPatience_s))) lost.push_back(rank);
    }
    if (lost.empty()) return blob;
    throw Error("ranks of the job are lost")
        .values("all ranks there", list_ranks(lost) + " gone before the start")
        .at(place_of(args_));
  }

 private:
  // Whoever connects and is no rank of ours is left.
  void take(const Deadline& deadline) {
    Socket connection(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    constexpr double kHello_s = 2;
    Hello hello;
    if (!connection.open() || !connection.receive_all(&hello, sizeof hello, deadline.or_after(kHello_s))) return;
    if (hello.magic != kTcpMagic) return;
    const auto rank = static_cast<std::int64_t>(ntohl(hello.rank));
    const auto size = static_cast<std::int64_t>(ntohl(hello.size));
    if (size != args_.here.size || rank < 1 || rank >= size) {
      const std::string came = fmt::format("rank {} of {}", rank, size);
      const Error error = Error("a rank of another job has come")
                              .values(fmt::format("ranks 1 to {} of {}", args_.here.size - 1, args_.here.size), came)
                              .at(place_of(args_))
                              .hint("give each job a port of its own; all ranks of a job must agree in its size");
      say(connection, true, error.what(), Deadline(kHello_s));
      refuse(error);
    }
    ranks_.insert_or_assign(static_cast<int>(rank), std::move(connection));
  }

  [[noreturn]] void refuse_late() {
    std::vector<int> missing;
    for (int rank = 1; rank < args_.here.size; ++rank) {
      if (!ranks_.contains(rank)) missing.push_back(rank);
    }
    refuse(Error("ranks of the job are missing")
               .values(fmt::format("{} ranks within {} s", args_.here.size, args_.limit_s),
                       "nothing of " + list_ranks(missing))
               .at(place_of(args_))
               .hint("look at what those ranks say; they must reach rank 0 at this host and port"));
  }
  // Those who have come hear why, too.
  [[noreturn]] void refuse(const Error& error) {
    constexpr double kPatience_s = 2;
    for (const auto& [rank, connection] : ranks_) say(connection, true, error.what(), Deadline(kPatience_s));
    throw error;
  }

  const TcpRendezvous& args_;
  Socket listener_;
  std::map<int, Socket> ranks_;
};

// No connection: `problem` says why.
std::optional<Socket> connect_to(const TcpRendezvous& args, const Deadline& deadline, std::string& problem) {
  const Addresses all = find_addresses(args.host.c_str(), args.port, problem);
  for (const addrinfo* address = all.get(); address != nullptr; address = address->ai_next) {
    Socket result = socket_for(*address);
    int code = connect(result.get(), address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (code == EINPROGRESS) {
      constexpr double kPatience_s = 5;
      socklen_t size = sizeof code;
      code = ETIMEDOUT;
      if (result.ready(POLLOUT, deadline.or_after(kPatience_s)))
        getsockopt(result.get(), SOL_SOCKET, SO_ERROR, &code, &size);
    }
    if (code == 0) return result;
    problem = std::strerror(code);
  }
  return std::nullopt;
}

std::string ask(const TcpRendezvous& args) {
  const Deadline deadline(args.limit_s);
  const Hello hello{.magic = kTcpMagic,
                    .rank = htonl(static_cast<std::uint32_t>(args.here.rank)),
                    .size = htonl(static_cast<std::uint32_t>(args.here.size))};
  std::string problem = "no answer";
  while (!deadline.passed()) {
    const std::optional<Socket> connection = connect_to(args, deadline, problem);
    Answer answer;
    if (connection && connection->send_all(&hello, sizeof hello, deadline) &&
        connection->receive_all(&answer, sizeof answer, deadline) && answer.magic == kTcpMagic &&
        ntohl(answer.size_bytes) <= kLongestAnswer) {
      std::string text(ntohl(answer.size_bytes), '\0');
      if (connection->receive_all(text.data(), text.size(), deadline)) {
        if (answer.refused == 0) return text;
        throw Error(fmt::format("rank 0 has refused: {}", text)).at(place_of(args));
      }
    }
    // Rank 0 may not listen yet, or may have been started anew.
    if (connection) problem = "a connection, and no answer";
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw Error("rank 0 of the job is missing")
      .values(fmt::format("an answer within {} s", args.limit_s), problem)
      .at(place_of(args))
      .hint("it listens at this port when it runs; look at what it says, and at firewalls between the machines");
}

}  // namespace

std::string share_by_tcp(const TcpRendezvous& args, const std::string& blob) {
  return args.here.rank == 0 ? Host(args).share(blob) : ask(args);
}

}  // namespace baekji
