#include "data/document_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "data/byte_stream.h"

namespace baekji {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 18;

enum class Kind { kText, kJsonLines };

Kind kind_of(std::filesystem::path path) {
  const std::filesystem::path whole = path;
  if (path.extension() == ".gz" || path.extension() == ".zst") path = path.stem();
  if (path.extension() == ".jsonl" || path.extension() == ".json") return Kind::kJsonLines;
  if (path.extension() == ".txt") return Kind::kText;
  throw Error("an input file of unknown kind")
      .values(".txt, .jsonl or .json, each also with .gz or .zst", whole.filename().string())
      .at(whole.string())
      .hint("rename the file");
}

// Lines of one file, with their newlines; the last may lack one.
class LineReader {
 public:
  LineReader(const std::filesystem::path& path, std::int64_t max_line_bytes)
      : stream_(path), path_(path), max_line_bytes_(max_line_bytes) {}

  // `line` stays valid until the next call.
  bool next(std::string_view& line) {
    std::size_t searched = 0;
    for (;;) {
      const char* start = buffer_.data() + begin_;
      const void* newline = std::memchr(start + searched, '\n', buffer_.size() - begin_ - searched);
      if (newline != nullptr)
        return take(static_cast<std::size_t>(static_cast<const char*>(newline) - start) + 1, line);
      searched = buffer_.size() - begin_;
      if (static_cast<std::int64_t>(searched) > max_line_bytes_) fail_too_long();
      if (ended_) return searched != 0 && take(searched, line);
      buffer_.erase(0, begin_);
      begin_ = 0;
      buffer_.resize(searched + kReadBytes);
      const std::size_t got = stream_.read(std::span(buffer_.data() + searched, kReadBytes));
      buffer_.resize(searched + got);
      ended_ = got == 0;
      if (first_read_ && buffer_.starts_with("\xef\xbb\xbf")) begin_ = 3;  // a byte order mark is no text
      if (buffer_.size() >= 3) first_read_ = false;
      searched = 0;
    }
  }

  std::int64_t line_number() const { return line_number_; }
  std::string place() const { return fmt::format("{}:{}", path_.string(), line_number_); }
  ByteStream& stream() { return stream_; }

 private:
  bool take(std::size_t length, std::string_view& line) {
    line = std::string_view(buffer_).substr(begin_, length);
    begin_ += length;
    line_number_ += 1;
    return true;
  }
  [[noreturn]] void fail_too_long() const {
    throw Error("a line is longer than a document may be")
        .values(fmt::format("<= {} bytes", max_line_bytes_), "more")
        .at(fmt::format("{}:{}", path_.string(), line_number_ + 1))
        .hint("is it really a text file? --max-document-mib raises the limit");
  }

  ByteStream stream_;
  std::filesystem::path path_;
  std::int64_t max_line_bytes_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::int64_t line_number_ = 0;
  bool ended_ = false;
  bool first_read_ = true;
};

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

struct DocumentReader::State {
  InputOptions options;
  std::vector<Kind> kinds;
  std::int64_t bytes_total = 0;
  std::int64_t bytes_of_finished = 0;
  std::string digests;
  std::size_t file = 0;
  std::optional<LineReader> lines;
  simdjson::dom::parser parser;
  std::string padded;

  bool next_json(Document& document);
  bool next_text(Document& document);
  std::string_view text_of(std::string_view line);
  void finish_file();
};

DocumentReader::DocumentReader(InputOptions options) : state_(std::make_unique<State>()) {
  if (options.files.empty()) throw Error("no input files").values("at least one", "none");
  if (options.separator.find_first_of("\r\n") != std::string::npos) {
    throw Error("the document separator must be one line").values("no newline", "a newline");
  }
  for (const auto& path : options.files) {
    if (!std::filesystem::exists(path)) throw Error("no such input file").values("a file", "nothing").at(path.string());
    state_->kinds.push_back(kind_of(path));
    if (std::filesystem::is_regular_file(path)) {
      state_->bytes_total += static_cast<std::int64_t>(std::filesystem::file_size(path));
    }
  }
  state_->options = std::move(options);
}
DocumentReader::~DocumentReader() = default;

std::int64_t DocumentReader::file_bytes_total() const {
  return state_->bytes_total;
}
std::int64_t DocumentReader::file_bytes_read() const {
  return state_->bytes_of_finished + (state_->lines ? state_->lines->stream().file_bytes_read() : 0);
}
const std::string& DocumentReader::file_digests() const {
  return state_->digests;
}

bool DocumentReader::next(Document& document) {
  State& s = *state_;
  while (s.file < s.options.files.size()) {
    if (!s.lines) s.lines.emplace(s.options.files[s.file], s.options.max_document_bytes);
    if (s.kinds[s.file] == Kind::kJsonLines ? s.next_json(document) : s.next_text(document)) return true;
    s.finish_file();
  }
  return false;
}

void DocumentReader::State::finish_file() {
  bytes_of_finished += lines->stream().file_bytes_read();
  digests += fmt::format("{}  {}\n", to_hex(lines->stream().file_digest()), options.files[file].filename().string());
  lines.reset();
  file += 1;
}

bool DocumentReader::State::next_json(Document& document) {
  std::string_view line;
  while (lines->next(line)) {
    line = without_line_end(line);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    document.text.assign(text_of(line));
    document.place = lines->place();
    return true;
  }
  return false;
}

std::string_view DocumentReader::State::text_of(std::string_view line) {
  padded.assign(line);
  padded.append(simdjson::SIMDJSON_PADDING, '\0');
  simdjson::dom::element object;
  if (const auto error = parser.parse(padded.data(), line.size(), false).get(object); error != simdjson::SUCCESS) {
    throw Error("an invalid JSON line")
        .values("one JSON object", simdjson::error_message(error))
        .at(lines->place())
        .hint("JSONL has one whole object on each line");
  }
  if (!object.is_object()) {
    throw Error("a JSON line is not an object").values("{\"...\": ...}", "another value").at(lines->place());
  }
  simdjson::dom::element field;
  const bool pointer = options.text_field.starts_with('/');
  if ((pointer ? object.at_pointer(options.text_field) : object.at_key(options.text_field)).get(field) !=
      simdjson::SUCCESS) {
    throw Error("a JSON line lacks the text field")
        .values(fmt::format("field '{}'", options.text_field), "not there")
        .at(lines->place())
        .hint("choose the field with --text-field");
  }
  std::string_view text;
  if (field.get(text) != simdjson::SUCCESS) {
    throw Error("the text field of a JSON line is not text")
        .values(fmt::format("field '{}' with a string", options.text_field), "another type")
        .at(lines->place());
  }
  return text;
}

bool DocumentReader::State::next_text(Document& document) {
  document.text.clear();
  std::string_view line;
  bool any = false;
  while (lines->next(line)) {
    const bool separates = !options.separator.empty() && without_line_end(line) == options.separator;
    if (separates && any) return true;
    if (separates) continue;
    if (!any) document.place = lines->place();
    any = true;
    document.text += line;
    if (static_cast<std::int64_t>(document.text.size()) > options.max_document_bytes) {
      throw Error("a document is too long")
          .values(fmt::format("<= {} bytes", options.max_document_bytes), "more")
          .at(document.place)
          .hint("split the file with --document-separator, or raise --max-document-mib");
    }
  }
  return any;
}

}  // namespace baekji
