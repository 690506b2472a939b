#pragma once
// Tiles: the pieces of 256 in which a log is published (C2SP tlog-tiles), from its entries one after another. The bytes
// and names are fixed by docs/formats/log.md.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"

namespace baekji {

inline constexpr std::int64_t kTileWidth = 256;
/// The "level" of the tiles that hold the entries themselves.
inline constexpr std::int64_t kEntriesLevel = -1;
/// An entry has a length of two bytes before it.
inline constexpr std::int64_t kMaxEntryBytes = 65535;

struct TileName {
  std::int64_t level = 0;
  std::int64_t index = 0;
  std::int64_t width = kTileWidth;  ///< less: a partial tile
  friend bool operator==(const TileName&, const TileName&) = default;
};
/// Below the folder of the log: "tile/0/x001/x234/067", "tile/entries/000.p/17".
std::string tile_path(const TileName& name);
/// Nothing when the text is not exactly what tile_path() gives for some name.
std::optional<TileName> parse_tile_path(std::string_view path);
/// How many nodes (or entries) a level has when the log has `size` entries.
std::int64_t nodes_at(std::int64_t level, std::int64_t size);

/// One tile, complete or still filling.
class Tile {
 public:
  Tile(std::int64_t level, std::int64_t index) : level_(level), index_(index) {}
  void add(std::string_view bytes) {
    bytes_ += bytes;
    ends_.push_back(bytes_.size());
  }
  std::int64_t width() const { return std::ssize(ends_); }
  TileName name() const { return {level_, index_, width()}; }
  /// The file of its first `width` nodes or entries.
  std::string_view first(std::int64_t width) const {
    return std::string_view(bytes_).substr(0, width == 0 ? 0 : ends_[static_cast<std::size_t>(width - 1)]);
  }
  std::string_view bytes() const { return bytes_; }

 private:
  std::int64_t level_, index_;
  std::string bytes_;
  std::vector<std::size_t> ends_;  // of each node or entry
};

/// The tiles of a growing log. It holds the unfinished tile of each level: O(log n).
class TileBuilder {
 public:
  using Take = std::function<void(const Tile&)>;
  /// Takes the next entry, and hands out each tile that it completes. Throws when it is longer than an entry can be.
  void add(std::string_view entry, const Take& complete);
  /// Hands out the unfinished tiles that have nodes.
  void partial(const Take& take) const;
  std::int64_t size() const { return static_cast<std::int64_t>(tree_.size()); }
  Digest root() const { return tree_.root(); }

 private:
  struct Level {
    Tile tile;
    MerkleBuilder tree;  // of this tile's nodes: its root is a node of the level above
  };
  Tile entries_{kEntriesLevel, 0};
  std::vector<Level> levels_;
  MerkleBuilder tree_;
};

}  // namespace baekji
