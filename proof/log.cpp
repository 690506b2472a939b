#include "proof/log.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/base64.h"
#include "core/error.h"
#include "core/untrusted_file.h"
#include "proof/ledger.h"
#include "proof/note_file.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostTileBytes = kTileWidth * (2 + kMaxEntryBytes);

std::string root_base64(const Digest& root) {
  return encode_base64(std::string(root.begin(), root.end()));
}

// The head of the ledger's first `size` lines, or of all when there are fewer.
TreeHead head_of_ledger(const fs::path& ledger, std::int64_t size) {
  LedgerLines lines(ledger);
  MerkleBuilder tree;
  while (static_cast<std::int64_t>(tree.size()) < size) {
    const auto line = lines.next();
    if (!line) break;
    tree.add(merkle_leaf(*line));
  }
  return {static_cast<std::int64_t>(tree.size()), tree.root()};
}

[[noreturn]] void fail_rewritten(const TreeHead& published, const std::string& came, const fs::path& ledger) {
  throw Error("the ledger was rewritten behind a published size")
      .values(fmt::format("{} lines, root {}", published.size, to_hex(published.root)), came)
      .at(ledger.string())
      .hint(
          "its first lines were changed or removed after their checkpoint was signed; only a copy of the ledger can "
          "restore it");
}

void require_published(const LogCheckpoint& checkpoint, const fs::path& ledger) {
  const TreeHead& published = checkpoint.head;
  const TreeHead came = head_of_ledger(ledger, published.size);
  if (came.size < published.size) fail_rewritten(published, fmt::format("{} lines", came.size), ledger);
  if (came.root != published.root)
    fail_rewritten(published, fmt::format("{} lines, root {}", came.size, to_hex(came.root)), ledger);
}

struct ReadCheckpoint {
  SignedNote note;
  LogCheckpoint checkpoint;
};

ReadCheckpoint read_checkpoint(const fs::path& file, const Digest& contract) {
  SignedNote note = read_note_file(file);
  LogCheckpoint checkpoint = parse_checkpoint_text(note.text, file.string());
  if (checkpoint.origin != log_origin(contract)) {
    throw Error("the checkpoint is of another experiment")
        .values(log_origin(contract), checkpoint.origin)
        .at(file.string());
  }
  return {std::move(note), std::move(checkpoint)};
}

// The signature, by a key that may, and the opening; gives the key's index.
std::size_t require_checkpoint(const KeyChain& chain, const ReadCheckpoint& read, const fs::path& file) {
  const LogCheckpoint& checkpoint = read.checkpoint;
  require_equal(to_hex(checkpoint.opening), to_hex(chain.opening_digest()),
                "the log has another opening than its checkpoint says", file.string());
  return chain.signer_of(read.note, checkpoint.origin, checkpoint.head.size, file.string());
}

bool holds(const fs::path& path, std::string_view bytes) {
  return posix_file_system().exists(path) && read_untrusted(path, kMostTileBytes) == bytes;
}

fs::path folder_of_partials(const fs::path& log, TileName name) {
  name.width = 1;
  return (log / tile_path(name)).parent_path();
}

// Holds the files of a log against the tiles that the ledger gives.
class FolderCheck {
 public:
  FolderCheck(fs::path folder, std::int64_t published) : folder_(std::move(folder)), published_(published) {}

  void check(const Tile& tile) {
    TileName name = tile.name();
    name.width = kTileWidth;
    const bool full_there = files_.exists(folder_ / tile_path(name));
    if (tile.width() == kTileWidth && full_there) compare(name, tile);
    const std::int64_t required =
        std::clamp<std::int64_t>(nodes_at(name.level, published_) - name.index * kTileWidth, 0, kTileWidth);
    name.width = required;
    // The full form serves whoever needs a partial one.
    if (required > 0 && !full_there && !files_.exists(folder_ / tile_path(name))) {
      throw Error("a tile of the log is missing")
          .values(tile_path(name), "no file")
          .at(folder_.string())
          .hint("the run writes missing tiles again when it goes on");
    }
    const fs::path partials = folder_of_partials(folder_, name);
    if (!files_.exists(partials)) return;
    for (const std::string& text : files_.list(partials)) {
      const auto found = parse_tile_path((partials / text).lexically_relative(folder_).generic_string());
      if (found && found->width <= tile.width()) compare(*found, tile);
    }
  }

  // After all tiles: whether anything else lies there. `size` is the ledger's.
  void check_names(std::int64_t size, LogReport& report) const {
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.is_directory()) continue;
      const std::string path = entry.path().lexically_relative(folder_).generic_string();
      if (path == log_checkpoint_path("").string()) continue;
      if (path.ends_with(kUnfinishedNote)) {
        report.leftover_files += 1;
        continue;
      }
      if (is_key_file(path)) {
        report.key_files += 1;
        continue;
      }
      const auto name = parse_tile_path(path);
      if (!name)
        throw Error("a file does not belong to the log").values("tile/<level>/<number>", path).at(folder_.string());
      const std::int64_t nodes = nodes_at(name->level, size);
      if (name->index * kTileWidth + name->width > nodes) {
        throw Error("a tile of the log holds more than the ledger")
            .values(fmt::format("at most {} nodes of {} lines", nodes, size), path)
            .at(folder_.string())
            .hint("the ledger was cut off after the tile was written");
      }
      (name->level == kEntriesLevel ? report.entry_files : report.tile_files) += 1;
    }
  }

 private:
  void compare(const TileName& name, const Tile& tile) {
    const std::string bytes = read_untrusted(folder_ / tile_path(name), kMostTileBytes);
    const std::string_view required = tile.first(name.width);
    if (bytes == required) return;
    const auto differs = std::mismatch(bytes.begin(), bytes.end(), required.begin(), required.end()).first;
    throw Error("a tile of the log differs from the ledger")
        .values(fmt::format("{} bytes of {}", required.size(), name.level == kEntriesLevel ? "entries" : "hashes"),
                fmt::format("{} bytes, the first other one at {}", bytes.size(), differs - bytes.begin()))
        .at((folder_ / tile_path(name)).string());
  }

  FileSystem& files_ = posix_file_system();
  fs::path folder_;
  std::int64_t published_;
};

}  // namespace

std::string log_origin(const Digest& contract) {
  return "baekji/" + to_hex(contract);
}

std::string checkpoint_text(const LogCheckpoint& checkpoint) {
  return fmt::format("{}\n{}\n{}\nopening {}\n", checkpoint.origin, checkpoint.head.size,
                     root_base64(checkpoint.head.root), to_hex(checkpoint.opening));
}

LogCheckpoint parse_checkpoint_text(std::string_view text, std::string_view place) {
  LogCheckpoint checkpoint;
  std::array<std::string_view, 4> lines;
  std::string_view rest = text;
  for (std::string_view& line : lines) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  checkpoint.origin = lines[0];
  std::from_chars(lines[1].data(), lines[1].data() + lines[1].size(), checkpoint.head.size);
  const auto root = decode_base64(lines[2]);
  if (root && root->size() == checkpoint.head.root.size())
    std::transform(root->begin(), root->end(), checkpoint.head.root.begin(),
                   [](char c) { return static_cast<std::uint8_t>(c); });
  constexpr std::string_view kOpening = "opening ";
  if (lines[3].size() == kOpening.size() + 64) {
    try {
      checkpoint.opening = parse_digest(lines[3].substr(kOpening.size()));
    } catch (const Error&) {  // the text that is composed below is then another one
    }
  }
  // What was read is right when it gives the same text: one spelling only.
  if (checkpoint.head.size < 0 || checkpoint_text(checkpoint) != text) {
    throw Error("not a checkpoint of a log")
        .values("four lines: origin, size, base64 of the root, opening", text.substr(0, 200))
        .at(place);
  }
  return checkpoint;
}

fs::path log_checkpoint_path(const fs::path& folder) {
  return folder / "checkpoint";
}

void check_published(const fs::path& folder, const fs::path& ledger, const Digest& contract) {
  require_published(read_checkpoint(log_checkpoint_path(folder), contract).checkpoint, ledger);
}

LedgerLines::LedgerLines(const fs::path& path) : path_(path), stream_(path, std::ios::binary) {
  if (!stream_) throw Error("cannot read the ledger").values("a readable file", "none").at(path.string());
}

std::optional<std::string> LedgerLines::next() {
  const std::streampos begin = stream_.tellg();
  std::string line;
  const bool whole = read_line(stream_, line, path_.string()) && !stream_.eof();
  if (whole) return line;
  // The file may grow: the next call looks again from here.
  stream_.clear();
  stream_.seekg(begin);
  return std::nullopt;
}

LogWriter::LogWriter(Args args) : args_(std::move(args)), origin_(log_origin(args_.contract)), lines_(args_.ledger) {
  const fs::path file = log_checkpoint_path(args_.folder);
  if (args_.files.exists(file)) {
    const KeyChain chain = KeyChain::read(args_.folder, args_.contract);
    require_key_in_force(chain);
    const ReadCheckpoint read = read_checkpoint(file, args_.contract);
    require_checkpoint(chain, read, file);
    chain.require_reached(read.checkpoint.head.size, file.string());
    require_published(read.checkpoint, args_.ledger);
    opening_ = chain.opening_digest();
    kernel_sets_ = chain.opening().kernel_sets;
    go_on(read.checkpoint);
  } else {
    begin();
  }
  remove_unfinished();
}

void LogWriter::require_key_in_force(const KeyChain& chain) const {
  const KeyChain::Key& key = chain.in_force();
  const std::string place = args_.folder.string();
  if (key.key != args_.key.public_key()) {
    throw Error("the log goes on under another key")
        .values(chain.describe(chain.keys().size() - 1), "key " + short_name(args_.key.public_key()))
        .at(place)
        .hint("`baekji log RUN --hand-over NEW.pem --key OLD.pem` hands a log over to a new key");
  }
  if (key.until) {
    throw Error("the key of the log is revoked")
        .values("a key in force", chain.describe(chain.keys().size() - 1))
        .at(place)
        .hint("`baekji log RUN --hand-over NEW.pem --key OLD.pem`, while nothing was signed beyond that size");
  }
}

// A crash can leave an opening without a checkpoint: nothing was promised under it yet.
void LogWriter::begin() {
  if (args_.files.exists(args_.folder / "keys") || args_.files.exists(args_.folder / "revoked")) {
    throw Error("the log has keys but no checkpoint")
        .values("log/checkpoint", "no file")
        .at(args_.folder.string())
        .hint("restore the checkpoint that was published");
  }
  kernel_sets_ = args_.kernel_sets;
  std::sort(kernel_sets_.begin(), kernel_sets_.end());
  kernel_sets_.erase(std::unique(kernel_sets_.begin(), kernel_sets_.end()), kernel_sets_.end());
  if (kernel_sets_.empty()) throw Error("a log opens with the kernel sets that count").values("at least one", "none");
  SignedNote note{
      .text = opening_text({.contract = args_.contract, .key = args_.key.public_key(), .kernel_sets = kernel_sets_}),
      .signatures = {}};
  sign_note(note, kOpeningName, args_.key);
  opening_ = sha256(note.text);
  const std::string bytes = write_note(note);
  if (!holds(opening_path(args_.folder), bytes)) write_file_whole(opening_path(args_.folder), bytes, args_.files);
}

// Only after the ledger was found to be the published one: its lines then say what the tiles must hold.
void LogWriter::go_on(const LogCheckpoint& checkpoint) {
  while (tiles_.size() < checkpoint.head.size) {
    take_line([this](const Tile& tile) {
      mend(tile);
      args_.files.remove_all(folder_of_partials(args_.folder, tile.name()));
    });
  }
  tiles_.partial([this](const Tile& tile) { mend(tile); });
  published_ = checkpoint.head.size;
}

void LogWriter::remove_unfinished() {
  if (!args_.files.exists(args_.folder)) return;
  std::vector<fs::path> unfinished;
  for (const auto& entry : fs::recursive_directory_iterator(args_.folder)) {
    if (entry.path().string().ends_with(kUnfinishedNote)) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) args_.files.remove_all(path);
}

void LogWriter::mend(const Tile& tile) {
  const fs::path path = args_.folder / tile_path(tile.name());
  if (holds(path, tile.bytes())) return;
  put(path, tile.bytes());
  mended_ += 1;
}

void LogWriter::take_line(const TileBuilder::Take& complete) {
  const auto line = lines_.next();
  if (!line) {
    throw Error("the ledger is shorter than it was")
        .values(fmt::format("more than {} lines", tiles_.size()), fmt::format("{} lines", tiles_.size()))
        .at(args_.ledger.string());
  }
  tiles_.add(*line, complete);
}

void LogWriter::put(const fs::path& path, std::string_view bytes) {
  write_file_whole(path, bytes, args_.files);
}

void LogWriter::publish(std::int64_t records) {
  if (records == published_) return;
  if (failed_ || records < published_) {
    throw Error("the log cannot be published")
        .values(fmt::format("more than {} lines, after no failure", published_), fmt::format("{} lines", records))
        .at(args_.folder.string())
        .hint("resume the run");
  }
  failed_ = true;  // until the checkpoint stands
  std::vector<fs::path> done;
  tiles_.partial([&](const Tile& tile) { done.push_back(folder_of_partials(args_.folder, tile.name())); });
  std::vector<fs::path> still_partial;
  const auto write = [this](const Tile& tile) { put(args_.folder / tile_path(tile.name()), tile.bytes()); };
  while (tiles_.size() < records) take_line(write);
  tiles_.partial([&](const Tile& tile) {
    write(tile);
    still_partial.push_back(folder_of_partials(args_.folder, tile.name()));
  });
  SignedNote note{.text = checkpoint_text({origin_, {records, tiles_.root()}, opening_}), .signatures = {}};
  sign_note(note, origin_, args_.key);
  put(log_checkpoint_path(args_.folder), write_note(note));
  published_ = records;
  failed_ = false;
  // Partial forms of what is complete now serve nobody any more.
  for (const fs::path& path : done) {
    if (std::find(still_partial.begin(), still_partial.end(), path) == still_partial.end())
      args_.files.remove_all(path);
  }
}

LogReport verify_log(const fs::path& folder, const fs::path& ledger_path, const LogTrust& trust) {
  const Ledger ledger = Ledger::open_read_only(ledger_path);
  const KeyChain chain = KeyChain::read(folder, ledger.genesis().contract, trust.revocations);
  const std::size_t given = chain.require(trust.owner, folder.string());
  const fs::path file = log_checkpoint_path(folder);
  const ReadCheckpoint read = read_checkpoint(file, ledger.genesis().contract);
  const std::size_t signer = require_checkpoint(chain, read, file);
  chain.require_reached(read.checkpoint.head.size, file.string());
  require_published(read.checkpoint, ledger_path);
  LogReport report{.checkpoint = read.checkpoint,
                   .ledger_records = ledger.record_count(),
                   .signer = chain.describe(signer),
                   .given = chain.describe(given)};
  FolderCheck folder_check(folder, read.checkpoint.head.size);
  const auto check = [&](const Tile& tile) { folder_check.check(tile); };
  LedgerLines lines(ledger_path);
  TileBuilder tiles;
  while (tiles.size() < ledger.record_count()) {
    const auto line = lines.next();
    if (!line) throw Error("the ledger changed while it was read").at(ledger_path.string());
    tiles.add(*line, check);
  }
  tiles.partial(check);
  folder_check.check_names(ledger.record_count(), report);
  return report;
}

WitnessedCheckpoint verify_checkpoint(const fs::path& file, const fs::path& folder, const fs::path& ledger_path,
                                      const LogTrust& trust, std::span<const Witness> witnesses) {
  const Ledger ledger = Ledger::open_read_only(ledger_path);
  const KeyChain chain = KeyChain::read(folder, ledger.genesis().contract, trust.revocations);
  (void)chain.require(trust.owner, folder.string());
  const ReadCheckpoint read = read_checkpoint(file, ledger.genesis().contract);
  require_checkpoint(chain, read, file);
  WitnessedCheckpoint result{.checkpoint = read.checkpoint, .times_s = {}};
  for (const Witness& witness : witnesses)
    result.times_s.push_back(verify_cosignature(read.note, witness.name, witness.key, file.string()));
  require_published(read.checkpoint, ledger_path);
  return result;
}

MerkleNodes tile_nodes(const fs::path& folder, std::int64_t size) {
  return [folder, size](std::int64_t height, std::int64_t index) {
    const std::int64_t level = height / 8;
    const std::int64_t count = std::int64_t{1} << (height % 8);  // of the level's nodes below the one asked for
    const std::int64_t begin = index * count;
    TileName name{level, begin / kTileWidth};
    FileSystem& files = posix_file_system();
    // A tile that is still partial at this size may have become complete since.
    if (!files.exists(folder / tile_path(name))) name.width = nodes_at(level, size) - name.index * kTileWidth;
    const std::string bytes = files.read(folder / tile_path(name));
    MerkleBuilder tree;
    for (std::int64_t i = begin % kTileWidth; i < begin % kTileWidth + count; ++i) {
      Digest node{};
      if (std::ssize(bytes) < (i + 1) * std::ssize(node)) {
        throw Error("a tile of the log is too short")
            .values(fmt::format("{} nodes", i + 1), fmt::format("{} bytes", bytes.size()))
            .at((folder / tile_path(name)).string());
      }
      std::transform(bytes.begin() + i * std::ssize(node), bytes.begin() + (i + 1) * std::ssize(node), node.begin(),
                     [](char c) { return static_cast<std::uint8_t>(c); });
      tree.add(node);
    }
    return tree.root();
  };
}

}  // namespace baekji
