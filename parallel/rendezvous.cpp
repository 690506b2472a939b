#include "parallel/rendezvous.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "core/error.h"
#include "parallel/rendezvous_ways.h"

namespace baekji {
namespace {

constexpr std::string_view kFile = "file:";
constexpr std::string_view kTcp = "tcp:";

std::optional<int> number_in(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  const std::string_view all = text;
  int value = 0;
  const auto [end, error] = std::from_chars(all.begin(), all.end(), value);
  if (error == std::errc() && end == all.end() && value >= 0) return value;
  throw Error("an environment variable of the launcher is not a number")
      .values("a number from 0 on", fmt::format("\"{}\"", all))
      .at(variable);
}

struct Names {
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
};

std::optional<JobRank> rank_in(const Names& names) {
  const std::optional<int> mine = number_in(names.rank);
  const std::optional<int> all = number_in(names.size);
  if (!mine || !all) return std::nullopt;
  if (*mine >= *all) {
    throw Error("the launcher's environment makes no sense")
        .values(fmt::format("{} below {} = {}", names.rank, names.size, *all), fmt::format("{}", *mine))
        .at("layout.rendezvous");
  }
  const int local_rank = number_in(names.local_rank).value_or(0);
  const int local_size = number_in(names.local_size).value_or(local_rank + 1);
  return JobRank{
      .rank = *mine, .size = *all, .local_rank = local_rank, .local_size = std::max(local_size, local_rank + 1)};
}

struct TcpPlace {
  std::string host;
  std::string port;
};

std::optional<TcpPlace> tcp_place(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.begin(), port.end(), number);
  if (host.empty() || error != std::errc() || end != port.end()) return std::nullopt;
  return TcpPlace{.host = std::string(host), .port = std::string(port)};
}

}  // namespace

JobRank rank_from_environment() {
  if (const auto rank = rank_in({"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})) return *rank;
  if (const auto rank = rank_in({"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"}))
    return *rank;
  throw Error("no launcher says which rank this process is")
      .values("RANK and WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS", "neither in the environment")
      .at("layout.rendezvous")
      .hint("start the job with torchrun or srun, or use layout.rendezvous = \"mpi\" and mpirun");
}

void check_rendezvous(const std::string& place, const std::string& where) {
  const bool file = place.starts_with(kFile) && place.size() > kFile.size();
  const bool tcp = place.starts_with(kTcp) && tcp_place(std::string_view(place).substr(kTcp.size()));
  if (file || tcp) return;
  throw Error("no such rendezvous")
      .values("\"mpi\", \"file:PATH\" or \"tcp:HOST:PORT\"", fmt::format("\"{}\"", place))
      .at(where);
}

std::string share_blob(const RendezvousArgs& args, const std::string& blob) {
  check_rendezvous(args.place, "layout.rendezvous");
  if (args.here.size == 1) return blob;
  if (args.place.starts_with(kFile))
    return share_by_file({.path = args.place.substr(kFile.size()), .here = args.here, .limit_s = args.limit_s}, blob);
  const TcpPlace place = tcp_place(std::string_view(args.place).substr(kTcp.size())).value();
  return share_by_tcp({.host = place.host, .port = place.port, .here = args.here, .limit_s = args.limit_s}, blob);
}

}  // namespace baekji
