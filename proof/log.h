#pragma once
// The log: the ledger's lines published as a Merkle tree in tiles, under signed checkpoints. Whoever keeps a checkpoint
// can later tell that the ledger up to there is still the same. The bytes are fixed by docs/formats/log.md.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ed25519.h"
#include "core/file_system.h"
#include "proof/log_keys.h"
#include "proof/log_tiles.h"
#include "proof/merkle_tree.h"
#include "proof/signed_note.h"

namespace baekji {

/// What a checkpoint says: the ledger of this experiment has had `head.size` lines, under this root, and its log this
/// opening.
struct LogCheckpoint {
  std::string origin;
  TreeHead head;
  Digest opening{};
};
/// The first line of every checkpoint of this experiment, and the name of its owner's key in them.
std::string log_origin(const Digest& contract);
std::string checkpoint_text(const LogCheckpoint& checkpoint);
/// Throws when the text is not exactly a checkpoint's.
LogCheckpoint parse_checkpoint_text(std::string_view text, std::string_view place);

/// The file of the newest checkpoint in the folder of a log.
std::filesystem::path log_checkpoint_path(const std::filesystem::path& folder);

/// Holds the ledger against the newest checkpoint of a log, whoever signed it. Throws when the ledger is shorter than
/// the published size, when its first lines have another root, and when the checkpoint is of another contract.
void check_published(const std::filesystem::path& folder, const std::filesystem::path& ledger, const Digest& contract);

/// Reads a ledger's whole lines, one at a time.
class LedgerLines {
 public:
  explicit LedgerLines(const std::filesystem::path& path);
  /// Nothing at the end of the file, or at a line that has no newline (yet).
  std::optional<std::string> next();

 private:
  std::filesystem::path path_;
  std::ifstream stream_;
};

/// Publishes a ledger that grows. In memory it keeps the unfinished tiles; the ledger is read line by line.
class LogWriter {
 public:
  struct Args {
    std::filesystem::path folder;  ///< of the log
    std::filesystem::path ledger;
    Digest contract{};
    Ed25519PrivateKey key;
    std::vector<Digest> kernel_sets;  ///< for the opening of a log that begins: those whose work counts as proved
    FileSystem& files = posix_file_system();
  };
  /// Begins a log with its opening, or goes on with the one in the folder: check_published(), and `key` must be the
  /// one in force, and not revoked. Tiles below the published size that are missing or damaged are written again: the
  /// ledger has what they held.
  explicit LogWriter(Args args);

  /// Publishes the first `records` lines of the ledger, which must be on the disk: tiles first, then the checkpoint.
  /// What was published before stays readable at any moment. Nothing happens when that size is published already
  /// (witnesses may have added their signatures there). On failure the earlier checkpoint stands, and this object
  /// publishes no more.
  void publish(std::int64_t records);

  /// The lines that the newest checkpoint covers; 0: there is none.
  std::int64_t size() const { return published_; }
  /// The kernel sets that the opening of the log names.
  const std::vector<Digest>& kernel_sets() const { return kernel_sets_; }
  /// How many tiles were written again when the log was opened.
  std::int64_t mended() const { return mended_; }

 private:
  void begin();
  void go_on(const LogCheckpoint& checkpoint);
  void require_key_in_force(const KeyChain& chain) const;
  void mend(const Tile& tile);
  void remove_unfinished();
  void take_line(const TileBuilder::Take& complete);
  void put(const std::filesystem::path& path, std::string_view bytes);

  Args args_;
  std::string origin_;
  Digest opening_{};
  std::vector<Digest> kernel_sets_;
  LedgerLines lines_;
  TileBuilder tiles_;
  std::int64_t published_ = 0;
  std::int64_t mended_ = 0;
  bool failed_ = false;
};

/// What verify_log() looked at.
struct LogReport {
  LogCheckpoint checkpoint;
  std::int64_t ledger_records = 0;  ///< as many as the checkpoint covers, or more
  std::int64_t tile_files = 0;
  std::int64_t entry_files = 0;
  std::int64_t key_files = 0;       ///< opening, hand-overs and revocations
  std::int64_t leftover_files = 0;  ///< unfinished files of a crash; they hold nothing that is published
  std::string signer;               ///< KeyChain::describe() of the key that signed the checkpoint
  std::string given;                ///< and of the one that the verifier knows
};
/// Whom a verifier believes.
struct LogTrust {
  Ed25519PublicKey owner;                          ///< any key of the log
  std::vector<std::filesystem::path> revocations;  ///< that the folder may lack
};
/// Reads all of a log, and the ledger: its chain, the keys of the log with all of their signatures, the checkpoint's
/// signature, size and root, and every file of the folder byte for byte. Throws an Error that names what is missing,
/// differs, or does not belong there.
LogReport verify_log(const std::filesystem::path& folder, const std::filesystem::path& ledger, const LogTrust& trust);

struct Witness {
  std::string name;
  Ed25519PublicKey key;
};
struct WitnessedCheckpoint {
  LogCheckpoint checkpoint;
  std::vector<std::int64_t> times_s;  ///< POSIX; when each of the witnesses signed
};
/// Holds the ledger against an earlier checkpoint of the log in `folder` that somebody kept: the ledger's chain, the
/// keys of the log, the checkpoint's signature and that of each given witness, opening, size and root. Throws an Error
/// that says which of them does not hold.
WitnessedCheckpoint verify_checkpoint(const std::filesystem::path& file, const std::filesystem::path& folder,
                                      const std::filesystem::path& ledger, const LogTrust& trust,
                                      std::span<const Witness> witnesses = {});

/// The hashes that a log of `size` entries has in its tiles, for proofs (proof/merkle_tree.h) without the ledger.
/// Throws when a tile is missing or too short; that its bytes are right is what a proof shows.
MerkleNodes tile_nodes(const std::filesystem::path& folder, std::int64_t size);

}  // namespace baekji
