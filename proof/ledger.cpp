#include "proof/ledger.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/untrusted_file.h"
#include "proof/contract.h"

namespace baekji {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string compose_line(std::int64_t index, std::string_view kind, const json& body, const Digest& previous) {
  return canonical_json({{"body", body}, {"index", index}, {"kind", kind}, {"previous", to_hex(previous)}});
}

[[noreturn]] void fail_read(const fs::path& path) {
  throw Error("cannot read the ledger").values("a readable file", std::strerror(errno)).at(path.string());
}

// Lines are read with plain streams, never the whole file at once: a ledger may be larger than memory is free.
std::ifstream open_stream(const fs::path& path) {
  require_regular_file(path);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail_read(path);
  return stream;
}

json parse_record(const std::string& line, const std::string& place) {
  json record = parse_canonical_json(line, place);
  const bool shaped = record.is_object() && record.size() == 4 && record.contains("body") &&
                      record["body"].is_object() && record.contains("index") && record["index"].is_number_integer() &&
                      record.contains("kind") && record["kind"].is_string() && record.contains("previous") &&
                      record["previous"].is_string();
  if (!shaped) throw Error("not a ledger record").values("body, index, kind, previous", line.substr(0, 200)).at(place);
  return record;
}

// What a crash can leave of a line: an end without newline, or bytes that never were a JSON text.
bool is_torn(const std::string& line, bool has_newline) {
  return !has_newline || !json::accept(line);
}

}  // namespace

std::string Ledger::place_of_line(std::int64_t number) const {
  return fmt::format("{}, line {}", path_.string(), number);
}

Ledger Ledger::create(const fs::path& path, const GenesisRecord& genesis, FileSystem& files,
                      std::optional<LedgerRules> rules) {
  if (files.exists(path)) {
    throw Error("a ledger is already there")
        .values("no file", "a file")
        .at(path.string())
        .hint("resume the run, or give another run.output");
  }
  // Under another name first: a crash shows no ledger, or a ledger that has its genesis.
  fs::path partial = path;
  partial += ".partial";
  files.write(partial, compose_line(0, "genesis", genesis_body(genesis), Digest{}) + "\n");
  files.rename(partial, path);
  return open(path, files, std::move(rules));
}

Ledger Ledger::open(const fs::path& path, FileSystem& files, std::optional<LedgerRules> rules) {
  Ledger ledger = read(path, std::move(rules));
  if (ledger.torn_bytes_ > 0) files.truncate(path, ledger.size_bytes_);
  ledger.files_ = &files;
  ledger.file_ = files.open_append(path);
  return ledger;
}

Ledger Ledger::open_read_only(const fs::path& path, std::optional<LedgerRules> rules) {
  return read(path, std::move(rules));
}

GenesisRecord Ledger::genesis_of(const fs::path& path) {
  std::ifstream stream = open_stream(path);
  const std::string place = fmt::format("{}, line 1", path.string());
  std::string line;
  if (!read_line(stream, line, place))
    throw Error("the ledger is empty").values("a genesis record", "no line").at(place);
  const json record = parse_record(line, place);
  require_equal("genesis", record["kind"].get_ref<const std::string&>(), "a ledger begins with its genesis", place);
  return parse_genesis_body(record["body"], place);
}

Ledger Ledger::read(const fs::path& path, std::optional<LedgerRules> rules) {
  Ledger ledger(std::move(rules));
  ledger.path_ = path;
  std::ifstream stream = open_stream(path);
  std::string line;
  while (read_line(stream, line, ledger.place_of_line(ledger.record_count_ + 1))) {
    const bool has_newline = !stream.eof();
    const bool last = !has_newline || stream.peek() == std::ifstream::traits_type::eof();
    if (last && ledger.record_count_ > 0 && is_torn(line, has_newline)) {
      ledger.torn_bytes_ = static_cast<std::int64_t>(line.size()) + (has_newline ? 1 : 0);
      break;
    }
    const std::string place = ledger.place_of_line(ledger.record_count_ + 1);
    if (!has_newline)
      throw Error("the ledger ends inside its first record").values("a whole genesis record", "no newline").at(place);
    ledger.take(line, ledger.check_line(line, place));
  }
  if (stream.bad()) fail_read(path);
  if (ledger.record_count_ == 0)
    throw Error("the ledger is empty").values("a genesis record", "no line").at(path.string());
  return ledger;
}

LedgerGrammar::Change Ledger::check_line(const std::string& line, const std::string& place) const {
  if (static_cast<std::int64_t>(line.size()) > kMostLineBytes)
    throw Error("a line of the ledger is too long")
        .values(fmt::format("at most {} bytes", kMostLineBytes), fmt::format("{}", line.size()))
        .at(place);
  const json record = parse_record(line, place);
  require_chained(record, place);
  return grammar_.check(record["kind"].get_ref<const std::string&>(), record["body"], place);
}

void Ledger::require_chained(const json& record, const std::string& place) const {
  const auto previous = record["previous"].get<std::string>();
  if (previous != to_hex(head_)) {
    throw Error("the chain of the ledger is broken")
        .values("previous = " + to_hex(head_) + " (the line before)", previous)
        .at(place)
        .hint("a line was changed, removed or inserted; only a copy of the ledger can restore it");
  }
  if (record["index"] != record_count_)
    throw Error("a ledger record has the wrong index")
        .values(fmt::format("{}", record_count_), record["index"].dump())
        .at(place);
}

void Ledger::take(std::string_view line, const LedgerGrammar::Change& change) {
  if (change.step) step_offsets_.push_back(size_bytes_);
  if (change.rollback) step_offsets_.resize(static_cast<std::size_t>(change.rollback->to));
  grammar_.apply(change);
  head_ = sha256(line);
  ++record_count_;
  size_bytes_ += static_cast<std::int64_t>(line.size()) + 1;
}

Digest Ledger::append(std::string_view kind, const json& body) {
  if (file_ == nullptr) throw Error("the ledger is open for reading only").at(path_.string());
  if (failed_)
    throw Error("the ledger could not be written earlier")
        .at(path_.string())
        .hint("resume the run: a torn line is cut off then");
  if (!body.is_object())
    throw Error("the body of a ledger record is an object").values("an object", body.type_name()).at(path_.string());
  if (kind == "genesis")
    throw Error("a ledger has one genesis record").values("another kind", "genesis").at(path_.string());
  const std::string line = compose_line(record_count_, kind, body, head_);
  const std::string place = place_of_line(record_count_ + 1);
  const LedgerGrammar::Change change = check_line(line, place);
  failed_ = true;  // until the whole line is in the file
  file_->append(line + "\n");
  failed_ = false;
  take(line, change);
  return head_;
}

Digest Ledger::append(const StepRecord& record) {
  return append("step", step_body(record));
}

json Ledger::event_body(std::string_view name, const json& details) const {
  if (!details.is_null() && !details.is_object()) {
    throw Error("the details of an event are an object").values("an object", details.type_name()).at(std::string(name));
  }
  json body = details.is_null() ? json::object() : details;
  if (body.contains("event"))
    throw Error("the details of an event name it twice")
        .values("no member 'event'", std::string(name))
        .at(path_.string());
  body["event"] = name;
  return body;
}

Digest Ledger::append_event(std::string_view name, const json& details) {
  return append("event", event_body(name, details));
}

void Ledger::check_event(std::string_view name, const json& details) const {
  (void)grammar_.check("event", event_body(name, details), place_of_line(record_count_ + 1));
}

std::optional<Digest> Ledger::state_root_of(std::int64_t step) const {
  const auto it = state_roots().find(step);
  if (it == state_roots().end()) return std::nullopt;
  return it->second;
}

void Ledger::sync() {
  if (file_ == nullptr) throw Error("the ledger is open for reading only").at(path_.string());
  file_->sync();
}

std::optional<json> Ledger::find_step(std::int64_t step) const {
  if (step < 1 || step > last_step()) return std::nullopt;
  std::ifstream stream = open_stream(path_);
  stream.seekg(step_offsets_[static_cast<std::size_t>(step - 1)]);
  std::string line;
  if (!read_line(stream, line, path_.string())) fail_read(path_);
  const std::string place = fmt::format("{}, step {}", path_.string(), step);
  json record = parse_record(line, place);
  require_equal(step, parse_step_body(record["body"], place).step, "the ledger changed while it was open", place);
  return std::move(record["body"]);
}

std::string Ledger::head_after(std::int64_t records) const {
  if (records < 1 || records > record_count_) return "no line";
  std::ifstream stream = open_stream(path_);
  std::string line;
  for (std::int64_t i = 0; i < records; ++i) {
    if (!read_line(stream, line, path_.string())) fail_read(path_);
  }
  return to_hex(sha256(line));
}

void Ledger::for_each(const Visit& visit) const {
  std::ifstream stream = open_stream(path_);
  std::string line;
  for (std::int64_t index = 0; index < record_count_; ++index) {
    if (!read_line(stream, line, path_.string())) fail_read(path_);
    const json record = parse_record(line, place_of_line(index + 1));
    visit(index, record["kind"].get<std::string>(), record["body"]);
  }
}

}  // namespace baekji
