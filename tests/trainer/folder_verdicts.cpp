// Verifies run folders named on standard input, one a line, each in a process of its own: what a hostile folder does to
// the verifier (a signal, a hang) becomes an answer. scripts/folder_fuzz starts it once for thousands of folders.
//   folder_verdicts KEY.pem SECONDS
// A line is FOLDER, or FOLDER and a tab and "replay", which also replays every segment. The answer is one JSON object a
// line: "exit" or "signal" (14: it took longer than SECONDS), and "text", what was said.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "parallel/communicator.h"
#include "trainer/verify.h"

namespace {

[[noreturn]] void check(const std::string& folder, bool replays, const std::string& key, unsigned limit_s,
                        const std::string& log) {
  if (freopen(log.c_str(), "w", stdout) == nullptr || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) _exit(126);
  alarm(limit_s);
  int status = 1;
  try {
    baekji::VerifyOptions options{.run = folder};
    options.signatures.public_key = key;
    options.genesis = true;
    if (replays) {
      options.nonce = "folder fuzz";
      options.count = 1000;
    }
    const auto world = baekji::make_self_communicator();
    const baekji::VerifyVerdict verdict =
        baekji::verify(options, {.world = *world}, [](const std::string& line) { std::puts(line.c_str()); });
    std::puts(verdict.last_line.c_str());
    status = static_cast<int>(verdict.outcome);
  } catch (const std::exception& error) {
    std::printf("error: %s\n", error.what());
  }
  std::fflush(stdout);
  _exit(status);
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto limit_s = static_cast<unsigned>(std::stoul(argv[2]));
  const std::string log =
      (std::filesystem::temp_directory_path() / ("folder_verdicts." + std::to_string(getpid()))).string();
  for (std::string line; std::getline(std::cin, line);) {
    const std::size_t tab = line.find('\t');
    const pid_t child = fork();
    if (child == 0) check(line.substr(0, tab), tab != std::string::npos, argv[1], limit_s, log);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 3;
    nlohmann::json answer{{"text", text_of(log)}};
    if (WIFEXITED(status))
      answer["exit"] = WEXITSTATUS(status);
    else
      answer["signal"] = WTERMSIG(status);
    std::cout << answer.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) << std::endl;
  }
  std::filesystem::remove(log);
  return 0;
}
