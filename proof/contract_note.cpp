#include "proof/contract_note.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file_system.h"
#include "proof/contract.h"
#include "proof/note_file.h"

namespace baekji {
namespace {

using nlohmann::json;

constexpr std::string_view kFirstLine = "baekji/contract/v2";
constexpr std::string_view kListFirstLine = "baekji/witness-register/v1";
constexpr std::size_t kLongestName = 128;
constexpr std::int64_t kMostRegisterBytes = std::int64_t{1} << 26;

bool is_letter_or_digit(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '_' || c == '/' || c == '-';
  });
}

std::int64_t number_in(std::string_view text) {
  std::int64_t number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "beacon NAME ROUND" or "seed", in its one spelling.
bool is_seed_line(std::string_view line) {
  constexpr std::string_view kBeacon = "beacon ";
  if (line == "seed") return true;
  const std::size_t space = line.rfind(' ');
  if (!line.starts_with(kBeacon) || space < kBeacon.size()) return false;
  const std::int64_t round = number_in(line.substr(space + 1));
  return round >= 1 && is_name(line.substr(kBeacon.size(), space - kBeacon.size())) &&
         line.substr(space + 1) == std::to_string(round);
}

// Nothing good when the contract has neither of the two, or both.
std::string seed_line(const json& contract) {
  if (contract.contains("beacon") == contract.contains("seed")) return "";
  if (contract.contains("seed")) return "seed";
  const json& beacon = contract["beacon"];
  return fmt::format("beacon {} {}", beacon.at("name").get<std::string>(), beacon.at("round").get<std::int64_t>());
}

bool same_round(const ContractNote& a, const ContractNote& b) {
  return a.has_beacon() && a.seed == b.seed;
}

json to_json_value(const RegisterEntry& entry) {
  return {{"contract", to_hex(entry.note.contract)},
          {"name", entry.note.name},
          {"seed", entry.note.seed},
          {"time", entry.time_s}};
}

[[noreturn]] void fail_entry(std::string_view line, std::string_view place) {
  throw Error("not a line of a witness's register")
      .values("time, contract, name and seed", line.substr(0, 300))
      .at(place);
}

RegisterEntry entry_of(const json& value, std::string_view line, std::string_view place) {
  try {
    RegisterEntry entry{.note = {.contract = parse_digest(value.at("contract").get<std::string>()),
                                 .name = value.at("name").get<std::string>(),
                                 .seed = value.at("seed").get<std::string>()},
                        .time_s = value.at("time").get<std::int64_t>()};
    if (value == to_json_value(entry) && is_name(entry.note.name) && is_seed_line(entry.note.seed)) return entry;
  } catch (const json::exception&) {  // said below
  }
  fail_entry(line, place);
}

// "<time> <digest> <name> <seed>"
RegisterEntry parse_list_line(std::string_view line, std::string_view place) {
  const std::size_t a = std::min(line.find(' '), line.size());
  const std::size_t b = std::min(line.find(' ', a + 1), line.size());
  const std::size_t c = std::min(line.find(' ', b + 1), line.size());
  if (b != a + 65 || c == line.size()) fail_entry(line, place);
  RegisterEntry entry{.note = {.contract = parse_digest(line.substr(a + 1, 64)),
                               .name = std::string(line.substr(b + 1, c - b - 1)),
                               .seed = std::string(line.substr(c + 1))},
                      .time_s = number_in(line.substr(0, a))};
  if (entry.time_s < 0 || std::to_string(entry.time_s) != line.substr(0, a)) fail_entry(line, place);
  if (!is_name(entry.note.name) || !is_seed_line(entry.note.seed)) fail_entry(line, place);
  return entry;
}

void require_order(std::span<const RegisterEntry> entries, std::string_view place) {
  for (std::size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].time_s < entries[i - 1].time_s)
      throw Error("the times of a register go back")
          .values(fmt::format("{} or later", entries[i - 1].time_s), fmt::format("{}", entries[i].time_s))
          .at(place);
  }
}

}  // namespace

ContractNote contract_note_of(std::string_view contract, const std::string& name) {
  if (!is_name(name)) {
    throw Error("a contract note cannot have that name")
        .values(fmt::format("1 to {} of A-Z, a-z, 0-9, '.', '_', '/', '-'", kLongestName), fmt::format("'{}'", name))
        .hint("--note-name gives another");
  }
  const json value = parse_canonical_json(contract, "the contract");
  try {
    ContractNote note{.contract = contract_digest(contract), .name = name, .seed = seed_line(value)};
    if (value.is_object() && is_seed_line(note.seed)) return note;
  } catch (const json::exception&) {  // said below
  }
  throw Error("a contract has a seed or a beacon").values("beacon: {name, round}", "something else").at("the contract");
}

std::string contract_note_text(const ContractNote& note) {
  return fmt::format("{}\n{}\n{}\n{}\n", kFirstLine, to_hex(note.contract), note.name, note.seed);
}

ContractNote parse_contract_note(const SignedNote& note, std::string_view place) {
  const std::vector<std::string_view> lines = note_lines(note.text);
  const auto fail = [&] {
    throw Error("not a contract note")
        .values(fmt::format("{}, a contract digest, a name, 'seed' or 'beacon NAME ROUND'", kFirstLine),
                note.text.substr(0, 200))
        .at(place);
  };
  if (lines.size() != 4 || lines[1].size() != 64) fail();
  ContractNote found{.contract = parse_digest(lines[1]), .name = std::string(lines[2]), .seed = std::string(lines[3])};
  if (!is_name(found.name) || !is_seed_line(found.seed) || contract_note_text(found) != note.text) fail();
  const bool named = std::any_of(note.signatures.begin(), note.signatures.end(),
                                 [](const NoteSignature& s) { return s.name == kContractNoteName; });
  if (!named) {
    throw Error("the contract note has no owner's signature")
        .values(fmt::format("a signature of {}", kContractNoteName), note.signatures.front().name)
        .at(place);
  }
  return found;
}

std::vector<RegisterEntry> read_register(const std::filesystem::path& file) {
  std::vector<RegisterEntry> entries;
  if (!posix_file_system().exists(file)) return entries;
  const std::string text = read_untrusted(file, kMostRegisterBytes);
  if (!text.empty() && !text.ends_with('\n')) fail_entry("a line without its end", file.string());
  for (const std::string_view line : note_lines(text)) {
    const std::string place = fmt::format("{} line {}", file.string(), entries.size() + 1);
    entries.push_back(entry_of(parse_canonical_json(line, place), line, place));
  }
  require_order(entries, file.string());
  return entries;
}

void register_note(const std::filesystem::path& file, const RegisterEntry& entry) {
  std::vector<RegisterEntry> entries = read_register(file);
  for (const RegisterEntry& earlier : entries) {
    if (!same_round(earlier.note, entry.note) || earlier.note.name != entry.note.name) continue;
    if (earlier.note.contract == entry.note.contract) continue;
    throw Error("this name has another contract for that round")
        .values("contract " + to_hex(earlier.note.contract), "contract " + to_hex(entry.note.contract))
        .at(fmt::format("{}, {}, {}", file.string(), entry.note.name, entry.note.seed))
        .hint("who has two contracts for one round keeps the one whose seed is better: wait for another round");
  }
  entries.push_back(entry);
  require_order(entries, file.string());
  std::string text;
  for (const RegisterEntry& e : entries) text += canonical_json(to_json_value(e)) + "\n";
  write_file_whole(file, text, posix_file_system());
}

std::string register_list_text(std::span<const RegisterEntry> entries) {
  std::string text = fmt::format("{}\n", kListFirstLine);
  for (const RegisterEntry& e : entries)
    text += fmt::format("{} {} {} {}\n", e.time_s, to_hex(e.note.contract), e.note.name, e.note.seed);
  return text;
}

WitnessList read_witness_list(const std::filesystem::path& file, std::string_view witness,
                              const Ed25519PublicKey& key) {
  const std::string place = file.string();
  const SignedNote note = read_note_file(file, kMostRegisterBytes);
  const std::vector<std::string_view> lines = note_lines(note.text);
  if (lines.front() != kListFirstLine)
    throw Error("not a witness's list").values(kListFirstLine, lines.front().substr(0, 100)).at(place);
  WitnessList list{.time_s = verify_cosignature(note, witness, key, place), .entries = {}};
  for (std::size_t i = 1; i < lines.size(); ++i) list.entries.push_back(parse_list_line(lines[i], place));
  require_order(list.entries, place);
  if (!list.entries.empty() && list.entries.back().time_s > list.time_s)
    throw Error("a witness's list tells of the future")
        .values(fmt::format("times up to {}, when it was signed", list.time_s),
                fmt::format("{}", list.entries.back().time_s))
        .at(place);
  return list;
}

RoundCount count_round(std::span<const RegisterEntry> entries, const ContractNote& note) {
  std::set<Digest> of_name, in_all;
  for (const RegisterEntry& e : entries) {
    if (!same_round(e.note, note)) continue;
    in_all.insert(e.note.contract);
    if (e.note.name == note.name) of_name.insert(e.note.contract);
  }
  return {.of_name = std::ssize(of_name), .in_all = std::ssize(in_all)};
}

}  // namespace baekji
