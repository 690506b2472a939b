#include "data/token_store_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/file_system.h"
#include "core/hdf5_writer.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "data/progress.h"
#include "data/tokenizer.h"

namespace baekji {
namespace {

// Documents tokenised together: enough for every thread, little beside one large document.
constexpr std::int64_t kBatchBytes = std::int64_t{8} << 20;
constexpr std::size_t kBatchDocuments = 4096;
constexpr std::int64_t kDocumentsPerTask = 32;
constexpr std::size_t kWriteTokens = std::size_t{1} << 20;

// A scratch file that has no name, so that nothing is left of it however the process ends.
class Spool {
 public:
  explicit Spool(const std::filesystem::path& beside) : path_(beside.string() + ".spool-XXXXXX") {
    fd_ = ::mkstemp(path_.data());
    if (fd_ < 0) fail("cannot create a scratch file");
    ::unlink(path_.c_str());
  }
  ~Spool() { ::close(fd_); }
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void append(const void* data, std::size_t size) {
    buffer_.append(static_cast<const char*>(data), size);
    if (buffer_.size() >= kBufferBytes) flush();
  }

  /// Ends writing.
  void finish() { flush(); }

  void read(std::uint64_t offset_bytes, std::size_t size, void* out) const {
    auto* to = static_cast<char*>(out);
    while (size > 0) {
      const ssize_t got = ::pread(fd_, to, size, static_cast<off_t>(offset_bytes));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail("cannot read a scratch file back");
      to += got;
      offset_bytes += static_cast<std::uint64_t>(got);
      size -= static_cast<std::size_t>(got);
    }
  }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

  void flush() {
    std::string_view rest = buffer_;
    while (!rest.empty()) {
      const ssize_t written = ::write(fd_, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail("cannot write a scratch file");
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
    buffer_.clear();
  }
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(problem)
        .values("space for the tokens twice, beside the output", std::strerror(errno))
        .at(path_)
        .hint("free some space on that disk, or write the store elsewhere");
  }

  std::string path_;
  std::string buffer_;
  int fd_ = -1;
};

// The tokens of all documents in the order of the input.
struct SpooledDocuments {
  explicit SpooledDocuments(const std::filesystem::path& beside) : tokens(beside), ends(beside) {}
  Spool tokens;  // at the store's width
  Spool ends;    // u64: tokens up to the end of each document
};

class Builder {
 public:
  explicit Builder(const TokenStoreOptions& options)
      : options_(options),
        tokenizer_(Tokenizer::load(options.tokenizer)),
        reader_(options.input),
        partial_(options.output.string() + ".partial") {
    info_.vocabulary = tokenizer_.vocab_size();
    info_.tokenizer_digest = tokenizer_.digest();
    info_.shuffle_seed = options.shuffle_seed;
    info_.licence = options.licence;
    info_.bos_id = options.add_bos ? require_id(tokenizer_.bos_id(), "BOS") : -1;
    info_.eos_id = options.add_eos ? require_id(tokenizer_.eos_id(), "EOS") : -1;
    if (!(options.validation >= 0 && options.validation <= 0.5)) {
      throw Error("the validation share is out of range")
          .values("0..0.5", fmt::format("{}", options.validation))
          .at("--validation");
    }
    if (options.output.has_parent_path()) posix_file_system().create_directories(options.output.parent_path());
  }

  TokenStoreSummary run() {
    const auto start = std::chrono::steady_clock::now();
    SpooledDocuments spooled(options_.output);
    tokenise(spooled);
    split();
    try {
      if (width_bytes() == 2)
        write<std::uint16_t>(spooled);
      else
        write<std::uint32_t>(spooled);
      posix_file_system().sync(partial_);
      // Opening it runs every cheap check on what was written.
      summary_.training_tokens = TokenStore::open(partial_).train_tokens();
      posix_file_system().rename(partial_, options_.output);
    } catch (...) {
      std::error_code ignored;
      std::filesystem::remove(partial_, ignored);
      throw;
    }
    summary_.info = info_;
    summary_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return summary_;
  }

 private:
  std::int64_t require_id(std::int32_t id, const char* what) const {
    if (id < 0) {
      throw Error(fmt::format("the tokenizer has no {} piece", what))
          .values(fmt::format("a {} id", what), "none")
          .at(options_.tokenizer.string());
    }
    return id;
  }
  int width_bytes() const { return token_width_bytes(info_.vocabulary); }

  void tokenise(SpooledDocuments& spooled);
  void append(const std::vector<std::int32_t>& ids, SpooledDocuments& spooled);
  void split();
  template <class Stored>
  void write(SpooledDocuments& spooled);
  void write_attributes(Hdf5Writer& file) const;

  const TokenStoreOptions& options_;
  Tokenizer tokenizer_;
  DocumentReader reader_;
  std::filesystem::path partial_;
  TokenStoreInfo info_;
  TokenStoreSummary summary_;
};

void Builder::tokenise(SpooledDocuments& spooled) {
  ThreadPool pool(options_.threads);
  Progress progress("tokenising", reader_.file_bytes_total(), options_.show_progress);
  std::vector<std::string> texts;
  std::vector<std::vector<std::int32_t>> ids;
  // One encoder per task slot, kept from batch to batch: its memory of words is what makes it fast.
  std::vector<Encoder> encoders;
  std::int64_t batch_bytes = 0;
  const auto encode_batch = [&] {
    const auto count = static_cast<std::int64_t>(texts.size());
    const std::int64_t tasks = std::min<std::int64_t>(options_.threads, ceil_div(count, kDocumentsPerTask));
    while (static_cast<std::int64_t>(encoders.size()) < tasks) encoders.emplace_back(tokenizer_);
    ids.resize(texts.size());
    pool.run(tasks, [&](std::int64_t task) {
      for (std::int64_t d = task * count / tasks; d < (task + 1) * count / tasks; ++d) {
        auto& out = ids[static_cast<std::size_t>(d)];
        out.clear();
        if (info_.bos_id >= 0) out.push_back(static_cast<std::int32_t>(info_.bos_id));
        encoders[static_cast<std::size_t>(task)].append(texts[static_cast<std::size_t>(d)], out);
        if (info_.eos_id >= 0) out.push_back(static_cast<std::int32_t>(info_.eos_id));
      }
    });
    for (const auto& document : ids) append(document, spooled);
    texts.clear();
    batch_bytes = 0;
    progress.update(reader_.file_bytes_read());
  };
  for (Document document; reader_.next(document);) {
    if (document.text.empty()) {
      summary_.empty_documents += 1;
      continue;
    }
    info_.text_bytes += static_cast<std::int64_t>(document.text.size());
    batch_bytes += static_cast<std::int64_t>(document.text.size());
    texts.push_back(std::move(document.text));
    if (batch_bytes >= kBatchBytes || texts.size() >= kBatchDocuments) encode_batch();
  }
  if (!texts.empty()) encode_batch();
  info_.inputs = reader_.file_digests();
  if (info_.documents == 0) {
    throw Error("the input holds no text")
        .values("at least one document", fmt::format("0 ({} empty)", summary_.empty_documents))
        .at(options_.input.files.front().string());
  }
}

void Builder::append(const std::vector<std::int32_t>& ids, SpooledDocuments& spooled) {
  for (const std::int32_t id : ids) {
    const auto wide = static_cast<std::uint32_t>(id);
    spooled.tokens.append(&wide, static_cast<std::size_t>(width_bytes()));  // little-endian: the low bytes come first
  }
  info_.documents += 1;
  info_.tokens += static_cast<std::int64_t>(ids.size());
  const auto end = static_cast<std::uint64_t>(info_.tokens);
  spooled.ends.append(&end, sizeof(end));
}

void Builder::split() {
  const double share = options_.validation * static_cast<double>(info_.documents);
  auto held_out = static_cast<std::int64_t>(share + 0.5);
  if (options_.validation > 0 && info_.documents >= 2) held_out = std::max<std::int64_t>(held_out, 1);
  info_.training_documents = info_.documents - std::min(held_out, info_.documents - 1);
}

template <class Stored>
void Builder::write(SpooledDocuments& spooled) {
  spooled.tokens.finish();
  spooled.ends.finish();
  Hdf5Writer file(partial_);
  const std::uint64_t token_count[] = {static_cast<std::uint64_t>(info_.tokens)};
  const std::uint64_t offset_count[] = {static_cast<std::uint64_t>(info_.documents) + 1};
  constexpr bool kNarrow = sizeof(Stored) == 2;
  const hid_t memory_type = kNarrow ? H5T_NATIVE_UINT16 : H5T_NATIVE_UINT32;
  Hdf5Handle token_set = file.create_dataset("/tokens", kNarrow ? H5T_STD_U16LE : H5T_STD_U32LE, token_count);
  Hdf5Handle offset_set = file.create_dataset("/document_offsets", H5T_STD_U64LE, offset_count);

  std::vector<Stored> out;
  std::vector<std::uint64_t> offsets{0};
  std::vector<std::uint32_t> ids;
  std::uint64_t tokens_written = 0;
  std::uint64_t offsets_written = 0;
  std::uint64_t total = 0;
  const auto flush = [&] {
    hdf5_write_range(token_set, memory_type, tokens_written, out.size(), out.data(), partial_.string());
    hdf5_write_range(offset_set, H5T_NATIVE_UINT64, offsets_written, offsets.size(), offsets.data(), partial_.string());
    file.check();
    tokens_written += out.size();
    offsets_written += offsets.size();
    out.clear();
    offsets.clear();
  };
  MerkleBuilder tree;
  Progress progress("writing", info_.tokens * width_bytes(), options_.show_progress);
  const auto documents = static_cast<std::uint64_t>(info_.documents);
  const KeyedPermutation shuffle("baekji.documents", options_.shuffle_seed, "", documents);
  for (std::uint64_t d = 0; d < documents; ++d) {
    const std::uint64_t from = shuffle(d);
    std::array<std::uint64_t, 2> range{};  // of the document's tokens; the first begins at 0
    const std::size_t known = from == 0 ? 1 : 2;
    spooled.ends.read((from + 1 - known) * sizeof(range[0]), known * sizeof(range[0]), &range[2 - known]);
    const std::size_t count = range[1] - range[0];
    const std::size_t old_size = out.size();
    out.resize(old_size + count);
    spooled.tokens.read(range[0] * sizeof(Stored), count * sizeof(Stored), out.data() + old_size);
    ids.assign(out.begin() + static_cast<std::ptrdiff_t>(old_size), out.end());
    tree.add(document_leaf(ids));
    total += count;
    offsets.push_back(total);
    if (out.size() >= kWriteTokens || offsets.size() >= kWriteTokens) {
      flush();
      progress.update(static_cast<std::int64_t>(total) * width_bytes());
    }
  }
  flush();
  info_.document_root = tree.root();
  write_attributes(file);
  token_set.close("cannot finish a dataset of the token store", partial_.string());
  offset_set.close("cannot finish a dataset of the token store", partial_.string());
  file.close();
}

void Builder::write_attributes(Hdf5Writer& file) const {
  const auto put = [&](const char* name, const auto& value) { file.write_attribute("/", name, value); };
  put("format", std::string("baekji token store"));
  put("format_version", kTokenStoreVersion);
  put("vocabulary", info_.vocabulary);
  put("tokens", info_.tokens);
  put("documents", info_.documents);
  put("training_documents", info_.training_documents);
  put("text_bytes", info_.text_bytes);
  put("bos_id", info_.bos_id);
  put("eos_id", info_.eos_id);
  put("shuffle_seed", static_cast<std::int64_t>(info_.shuffle_seed));
  put("tokenizer_digest", to_hex(info_.tokenizer_digest));
  put("document_root", to_hex(info_.document_root));
  put("data_root", to_hex(data_root(info_)));
  put("licence", info_.licence);
  const std::uint64_t size[] = {info_.inputs.size()};
  const Hdf5Handle inputs = file.create_dataset("/inputs", H5T_STD_U8LE, size);
  hdf5_write_range(inputs, H5T_NATIVE_UINT8, 0, info_.inputs.size(), info_.inputs.data(), partial_.string());
}

}  // namespace

TokenStoreSummary build_token_store(const TokenStoreOptions& options) {
  return Builder(options).run();
}

}  // namespace baekji
