// What this program's ledger grammar says of many ledgers: for scripts/ledger_fuzz, which asks the outside verifier the
// same. Usage: ledger_verdicts FILE. The file holds, for each item, the contract and the ledger, each as its length (4
// bytes, big-endian) and its bytes. Prints a line for each: "ok", or "refused: " and the reason.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/file_system.h"
#include "proof/ledger.h"
#include "trainer/ledger_rules.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> next_block(std::istream& in) {
  std::string length(4, '\0');
  if (!in.read(length.data(), 4)) return std::nullopt;
  std::size_t bytes = 0;
  for (const char c : length) bytes = bytes << 8U | static_cast<unsigned char>(c);
  std::string block(bytes, '\0');
  if (!in.read(block.data(), static_cast<std::streamsize>(bytes))) throw Error("the batch ends inside an item");
  return block;
}

std::string verdict(const std::string& contract, const std::string& ledger_bytes, const fs::path& file) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << ledger_bytes;
  try {
    (void)Ledger::open_read_only(file, ledger_rules(contract));
    return "ok";
  } catch (const Error& error) {
    std::string text = error.what();
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, ' ');
    return "refused: " + text;
  }
}

void judge(const std::string& path) {
  std::ifstream batch(path, std::ios::binary);
  if (!batch) throw Error("no such batch of ledgers").at(path);
  const fs::path file = fs::temp_directory_path() / fmt::format("baekji_ledger_verdicts_{}.jsonl", getpid());
  while (const auto contract = next_block(batch)) {
    const auto ledger = next_block(batch);
    if (!ledger) throw Error("the batch ends inside an item");
    fmt::print("{}\n", verdict(*contract, *ledger, file));
  }
  fs::remove(file);
}

}  // namespace
}  // namespace baekji

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw baekji::Error("usage: ledger_verdicts FILE");
    baekji::judge(argv[1]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
  return 0;
}
