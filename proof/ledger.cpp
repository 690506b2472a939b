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

// What a record adds to the index; found before anything changes, so that a refused record leaves no trace.
struct Ledger::Entry {
  bool is_step = false;
  std::optional<GenesisRecord> genesis;
  std::optional<std::pair<Digest, std::int64_t>> root;
  std::optional<RollbackEvent> rollback;
  SkippedBatches skipped;  // with the rollback's
};

std::string Ledger::place_of_line(std::int64_t number) const {
  return fmt::format("{}, line {}", path_.string(), number);
}

Ledger Ledger::create(const fs::path& path, const GenesisRecord& genesis, FileSystem& files) {
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
  return open(path, files);
}

Ledger Ledger::open(const fs::path& path, FileSystem& files) {
  Ledger ledger = read(path);
  if (ledger.torn_bytes_ > 0) files.truncate(path, ledger.size_bytes_);
  ledger.files_ = &files;
  ledger.file_ = files.open_append(path);
  return ledger;
}

Ledger Ledger::open_read_only(const fs::path& path) {
  return read(path);
}

Ledger Ledger::read(const fs::path& path) {
  Ledger ledger;
  ledger.path_ = path;
  std::ifstream stream = open_stream(path);
  std::string line;
  while (std::getline(stream, line)) {
    const bool has_newline = !stream.eof();
    const bool last = !has_newline || stream.peek() == std::ifstream::traits_type::eof();
    if (last && ledger.record_count_ > 0 && is_torn(line, has_newline)) {
      ledger.torn_bytes_ = static_cast<std::int64_t>(line.size()) + (has_newline ? 1 : 0);
      break;
    }
    const std::string place = ledger.place_of_line(ledger.record_count_ + 1);
    if (!has_newline)
      throw Error("the ledger ends inside its first record").values("a whole genesis record", "no newline").at(place);
    ledger.take(line, ledger.check_record(parse_record(line, place), place));
  }
  if (stream.bad()) fail_read(path);
  if (ledger.record_count_ == 0)
    throw Error("the ledger is empty").values("a genesis record", "no line").at(path.string());
  return ledger;
}

Ledger::Entry Ledger::check_record(const json& record, const std::string& place) const {
  const auto previous = record["previous"].get<std::string>();
  if (previous != to_hex(head_)) {
    throw Error("the chain of the ledger is broken")
        .values("previous = " + to_hex(head_) + " (the line before)", previous)
        .at(place)
        .hint("a line was changed, removed or inserted; only a copy of the ledger can restore it");
  }
  require_equal(record_count_, record["index"].get<std::int64_t>(), "a ledger record has the wrong index", place);
  const auto kind = record["kind"].get<std::string>();
  const json& body = record["body"];
  const bool first = record_count_ == 0;
  if (first != (kind == "genesis")) {
    throw Error("a ledger begins with its one genesis record")
        .values(first ? "genesis" : "another kind", kind)
        .at(place);
  }
  Entry entry;
  if (first) {
    entry.genesis = parse_genesis_body(body, place);
    entry.root = {entry.genesis->state_root, 0};
  } else if (kind == "step") {
    const StepRecord step = parse_step_body(body, place);
    require_equal(last_step() + 1, step.step, "a step of the ledger is missing or stands twice", place);
    entry.is_step = true;
    if (step.state_root) entry.root = {*step.state_root, step.step};
  } else if (kind == "event" && body.value("event", json()) == "checkpoint") {
    const CheckpointEvent checkpoint = parse_checkpoint_event(body, place);
    entry.root = {checkpoint.state_root, checkpoint.step};
  } else if (kind == "event" && body.value("event", json()) == "rollback") {
    entry.rollback = parse_rollback_event(body, place);
    entry.skipped = skipped_after(*entry.rollback, place);
  }
  if (entry.root) require_one_root(entry.root->second, entry.root->first, place);
  return entry;
}

void Ledger::require_one_root(std::int64_t step, const Digest& root, const std::string& place) const {
  const auto known = root_of_step_.find(step);
  if (known == root_of_step_.end() || known->second == root) return;
  throw Error(fmt::format("the ledger holds two states of step {}", step))
      .values(to_hex(known->second), to_hex(root))
      .at(place);
}

SkippedBatches Ledger::skipped_after(const RollbackEvent& rollback, const std::string& place) const {
  if (rollback.to < 0 || rollback.to > last_step()) {
    throw Error("a rollback goes back to a step of the ledger")
        .values(fmt::format("0 to {}", last_step()), fmt::format("{}", rollback.to))
        .at(place);
  }
  if (rollback.skip.from <= skipped_.batch_of(rollback.to)) {
    throw Error("a rollback skips batches that were trained on before it")
        .values(fmt::format("batches after {} (step {} had that)", skipped_.batch_of(rollback.to), rollback.to),
                fmt::format("{} to {}", rollback.skip.from, rollback.skip.to))
        .at(place);
  }
  std::vector<BatchRange> ranges = skipped_.ranges();
  ranges.push_back(rollback.skip);
  try {
    return SkippedBatches(std::move(ranges));
  } catch (Error& error) {
    throw error.at(place);
  }
}

void Ledger::take(std::string_view line, const Entry& entry) {
  if (entry.genesis) genesis_ = *entry.genesis;
  if (entry.is_step) step_offsets_.push_back(size_bytes_);
  if (entry.root) {
    roots_.insert(*entry.root);
    root_of_step_[entry.root->second] = entry.root->first;
  }
  if (entry.rollback) {
    step_offsets_.resize(static_cast<std::size_t>(entry.rollback->to));
    std::erase_if(roots_, [&](const auto& root) { return root.second > entry.rollback->to; });
    std::erase_if(root_of_step_, [&](const auto& root) { return root.first > entry.rollback->to; });
    skipped_ = entry.skipped;
  }
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
  const Entry entry = check_record(parse_record(line, place), place);
  failed_ = true;  // until the whole line is in the file
  file_->append(line + "\n");
  failed_ = false;
  take(line, entry);
  return head_;
}

Digest Ledger::append(const StepRecord& record) {
  return append("step", step_body(record));
}

Digest Ledger::append_event(std::string_view name, const json& details) {
  if (!details.is_null() && !details.is_object()) {
    throw Error("the details of an event are an object").values("an object", details.type_name()).at(std::string(name));
  }
  json body = details.is_null() ? json::object() : details;
  if (body.contains("event"))
    throw Error("the details of an event name it twice")
        .values("no member 'event'", std::string(name))
        .at(path_.string());
  body["event"] = name;
  return append("event", body);
}

std::optional<Digest> Ledger::state_root_of(std::int64_t step) const {
  const auto it = root_of_step_.find(step);
  if (it == root_of_step_.end()) return std::nullopt;
  return it->second;
}

void Ledger::sync() {
  if (file_ == nullptr) throw Error("the ledger is open for reading only").at(path_.string());
  file_->sync();
}

std::int64_t Ledger::last_step() const {
  return static_cast<std::int64_t>(step_offsets_.size());
}

std::optional<json> Ledger::find_step(std::int64_t step) const {
  if (step < 1 || step > last_step()) return std::nullopt;
  std::ifstream stream = open_stream(path_);
  stream.seekg(step_offsets_[static_cast<std::size_t>(step - 1)]);
  std::string line;
  if (!std::getline(stream, line)) fail_read(path_);
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
    if (!std::getline(stream, line)) fail_read(path_);
  }
  return to_hex(sha256(line));
}

std::optional<std::int64_t> Ledger::step_of_state_root(const Digest& root) const {
  const auto it = roots_.find(root);
  if (it == roots_.end()) return std::nullopt;
  return it->second;
}

void Ledger::for_each(const Visit& visit) const {
  std::ifstream stream = open_stream(path_);
  std::string line;
  for (std::int64_t index = 0; index < record_count_; ++index) {
    if (!std::getline(stream, line)) fail_read(path_);
    const json record = parse_record(line, place_of_line(index + 1));
    visit(index, record["kind"].get<std::string>(), record["body"]);
  }
}

}  // namespace baekji
