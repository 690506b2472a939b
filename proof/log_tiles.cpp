#include "proof/log_tiles.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"

namespace baekji {
namespace {

// A level above this one would need more than 2^63 entries.
constexpr std::int64_t kHighestLevel = 7;

// Groups of three digits, all but the last with an x before them.
std::string index_path(std::int64_t index) {
  std::string path = fmt::format("{:03}", index % 1000);
  for (index /= 1000; index > 0; index /= 1000) path = fmt::format("x{:03}/{}", index % 1000, path);
  return path;
}

std::optional<std::int64_t> parse_number(std::string_view digits) {
  std::int64_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, code] = std::from_chars(digits.data(), end, value);
  if (code != std::errc() || stop != end || value < 0) return std::nullopt;
  return value;
}

std::string_view take_until(std::string_view& text, std::string_view mark) {
  const std::string_view part = text.substr(0, text.find(mark));
  text.remove_prefix(std::min(text.size(), part.size() + mark.size()));
  return part;
}

std::string_view node_bytes(const Digest& digest) {
  return {static_cast<const char*>(static_cast<const void*>(digest.data())), digest.size()};
}

}  // namespace

std::string tile_path(const TileName& name) {
  const std::string level = name.level == kEntriesLevel ? "entries" : fmt::format("{}", name.level);
  const std::string width = name.width == kTileWidth ? "" : fmt::format(".p/{}", name.width);
  return fmt::format("tile/{}/{}{}", level, index_path(name.index), width);
}

std::optional<TileName> parse_tile_path(std::string_view path) {
  std::string_view rest = path;
  if (take_until(rest, "/") != "tile") return std::nullopt;
  const std::string_view level = take_until(rest, "/");
  std::string digits;
  for (const char c : take_until(rest, ".p/")) {
    if (c != 'x' && c != '/') digits.push_back(c);
  }
  const auto level_number = level == "entries" ? std::optional(kEntriesLevel) : parse_number(level);
  const auto index = parse_number(digits);
  const auto width = rest.empty() ? std::optional(kTileWidth) : parse_number(rest);
  if (!level_number || !index || !width || *level_number > kHighestLevel || *width < 1 || *width > kTileWidth)
    return std::nullopt;
  const TileName name{*level_number, *index, *width};
  // Whatever is spelled otherwise does not come out the same again.
  if (tile_path(name) != path) return std::nullopt;
  return name;
}

std::int64_t nodes_at(std::int64_t level, std::int64_t size) {
  return level == kEntriesLevel ? size : size >> (8 * level);
}

void TileBuilder::add(std::string_view entry, const Take& complete) {
  const auto bytes = static_cast<std::int64_t>(entry.size());
  if (bytes > kMaxEntryBytes) {
    throw Error("a line of the ledger is too long for the log")
        .values(fmt::format("at most {} bytes", kMaxEntryBytes), fmt::format("{} bytes", bytes))
        .at(fmt::format("line {}", size() + 1));
  }
  const char length[] = {static_cast<char>(bytes >> 8), static_cast<char>(bytes & 255)};
  entries_.add(std::string(length, 2).append(entry));
  if (entries_.width() == kTileWidth) {
    complete(entries_);
    entries_ = Tile(kEntriesLevel, entries_.name().index + 1);
  }
  Digest node = merkle_leaf(entry);
  tree_.add(node);
  for (std::size_t level = 0;; ++level) {
    if (level == levels_.size()) levels_.push_back({Tile(static_cast<std::int64_t>(level), 0), {}});
    Level& at = levels_[level];
    at.tile.add(node_bytes(node));
    at.tree.add(node);
    if (at.tile.width() < kTileWidth) return;
    complete(at.tile);
    node = at.tree.root();
    at = {Tile(static_cast<std::int64_t>(level), at.tile.name().index + 1), {}};
  }
}

void TileBuilder::partial(const Take& take) const {
  if (entries_.width() > 0) take(entries_);
  for (const Level& level : levels_) {
    if (level.tile.width() > 0) take(level.tile);
  }
}

}  // namespace baekji
