#include "data/token_store.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>

#include "core/hdf5.h"
#include "core/untrusted_file.h"

namespace baekji {

static_assert(std::endian::native == std::endian::little, "stores are mapped as they are: little-endian hosts only");

namespace {

constexpr const char* kFormatName = "baekji token store";
constexpr const char* kForeignHint = "token stores are written by: baekji data --output STORE.h5";

// Where a contiguous, unfiltered one-dimensional dataset of little-endian unsigned integers lies in its file.
struct Extent {
  std::int64_t offset_bytes = 0;
  std::int64_t count = 0;
  int width_bytes = 0;
};

Extent locate(const Hdf5File& file, const std::string& name) {
  const std::string place = file.path() + " : " + name;
  const Hdf5Handle dataset = file.open_dataset(name);
  const std::vector<std::uint64_t> dims = file.dims(name);
  require_equal(std::size_t{1}, dims.size(), "a dataset of the token store must have one dim", place);
  const Hdf5Handle type(H5Dget_type(dataset.get()), "cannot read a dataset's type", place);
  const auto width = static_cast<int>(H5Tget_size(type.get()));
  if (width < 1 || H5Tget_class(type.get()) != H5T_INTEGER || H5Tget_sign(type.get()) != H5T_SGN_NONE ||
      (width > 1 && H5Tget_order(type.get()) != H5T_ORDER_LE)) {
    throw Error("a dataset of the token store has the wrong type")
        .values("unsigned little-endian integers", "another type")
        .at(place);
  }
  const Hdf5Handle plist(H5Dget_create_plist(dataset.get()), "cannot read a dataset's layout", place);
  if (H5Pget_layout(plist.get()) != H5D_CONTIGUOUS || H5Pget_external_count(plist.get()) != 0) {
    throw Error("a dataset of the token store cannot be read in place")
        .values("contiguous layout", "another layout")
        .at(place)
        .hint("write the store again with: baekji data");
  }
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (dims[0] != 0 && offset == HADDR_UNDEF) {
    throw Error("a dataset of the token store was never written").values("data", "none").at(place);
  }
  return {.offset_bytes = dims[0] == 0 ? 0 : narrow<std::int64_t>(offset),
          .count = narrow<std::int64_t>(dims[0]),
          .width_bytes = width};
}

// A read-only map of a whole file.
class FileMap {
 public:
  explicit FileMap(const std::string& path) {
    const RegularFile file(path);
    size_bytes_ = file.size_bytes();
    data_ = size_bytes_ == 0
                ? nullptr
                : ::mmap(nullptr, static_cast<std::size_t>(size_bytes_), PROT_READ, MAP_SHARED, file.descriptor(), 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      fail(path);
    }
  }
  ~FileMap() {
    if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(size_bytes_));
  }
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  const std::byte* data() const { return static_cast<const std::byte*>(data_); }
  std::int64_t size_bytes() const { return size_bytes_; }

  const std::byte* part(const Extent& extent, const std::string& place) const {
    if (extent.offset_bytes > size_bytes_ || extent.count > (size_bytes_ - extent.offset_bytes) / extent.width_bytes) {
      throw Error("the token store is truncated")
          .values(fmt::format("{} elements of {} bytes from byte {} on", extent.count, extent.width_bytes,
                              extent.offset_bytes),
                  fmt::format("a file of {} bytes", size_bytes_))
          .at(place);
    }
    return data() + extent.offset_bytes;
  }

 private:
  [[noreturn]] static void fail(const std::string& path) {
    throw Error("cannot map the token store into memory").values("a readable file", std::strerror(errno)).at(path);
  }

  void* data_ = nullptr;
  std::int64_t size_bytes_ = 0;
};

template <class T>
T load(const std::byte* base, std::int64_t index) {  // HDF5 does not align datasets to their element size
  T value;
  std::memcpy(&value, base + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

TokenStoreInfo read_info(const Hdf5File& file) {
  if (!file.has_attribute("/", "format") || file.read_text_attribute("/", "format") != kFormatName) {
    throw Error("this HDF5 file is not a token store")
        .values(fmt::format("attribute format = '{}'", kFormatName),
                file.has_attribute("/", "format") ? file.read_text_attribute("/", "format") : "no such attribute")
        .at(file.path())
        .hint(kForeignHint);
  }
  require_equal(kTokenStoreVersion, file.read_integer_attribute("/", "format_version"),
                "this token store has another format version", file.path());
  const auto integer = [&](const char* name) { return file.read_integer_attribute("/", name); };
  const auto text = [&](const char* name) { return file.read_text_attribute("/", name); };
  TokenStoreInfo info;
  info.vocabulary = integer("vocabulary");
  info.tokens = integer("tokens");
  info.documents = integer("documents");
  info.training_documents = integer("training_documents");
  info.text_bytes = integer("text_bytes");
  info.bos_id = integer("bos_id");
  info.eos_id = integer("eos_id");
  info.shuffle_seed = static_cast<std::uint64_t>(integer("shuffle_seed"));
  info.tokenizer_digest = parse_digest(text("tokenizer_digest"));
  info.document_root = parse_digest(text("document_root"));
  info.licence = text("licence");
  if (to_hex(data_root(info)) != text("data_root")) {
    throw Error("the token store contradicts itself: its attributes do not give its data root")
        .values(text("data_root"), to_hex(data_root(info)))
        .at(file.path())
        .hint("the file was changed after it was written; write it again with: baekji data");
  }
  return info;
}

}  // namespace

struct TokenStore::Mapping {
  explicit Mapping(const std::filesystem::path& store)
      : path(store), file(Hdf5File::open_read_only(store)), map(store) {
    info = read_info(file);
    const Extent token_extent = locate(file, "/tokens");
    const Extent offset_extent = locate(file, "/document_offsets");
    const Extent input_extent = locate(file, "/inputs");
    const std::string place = path.string();
    check_numbers();
    require_equal(info.tokens, token_extent.count, "the token store has another number of tokens than it says", place);
    require_equal(info.documents, offset_extent.count - 1, "the token store has another number of offsets than it says",
                  place);
    require_equal(token_width_bytes(info.vocabulary), token_extent.width_bytes,
                  "the width of a token does not match the vocabulary", place);
    require_equal(8, offset_extent.width_bytes, "document offsets must have 8 bytes", place);
    require_equal(1, input_extent.width_bytes, "the list of inputs must be bytes", place);
    width_bytes = token_extent.width_bytes;
    token_base = map.part(token_extent, place);
    offset_base = map.part(offset_extent, place);
    check_offsets();
    info.inputs.assign(reinterpret_cast<const char*>(map.part(input_extent, place)),
                       static_cast<std::size_t>(input_extent.count));
  }

  std::int64_t offset(std::int64_t document) const {
    return static_cast<std::int64_t>(load<std::uint64_t>(offset_base, document));
  }

  void check_numbers() const {
    const auto check = [&](const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
      if (value >= least && value <= most) return;
      throw Error(fmt::format("the token store has an impossible {}", name))
          .values(fmt::format("{}..{}", least, most), fmt::format("{}", value))
          .at(path.string())
          .hint(kForeignHint);
    };
    check("vocabulary", info.vocabulary, 1, std::numeric_limits<std::int32_t>::max());
    check("number of tokens", info.tokens, 1, std::numeric_limits<std::int64_t>::max());
    check("number of documents", info.documents, 1, info.tokens);
    check("number of training documents", info.training_documents, 1, info.documents);
    check("number of text bytes", info.text_bytes, 1, std::numeric_limits<std::int64_t>::max());
    check("BOS id", info.bos_id, -1, info.vocabulary - 1);
    check("EOS id", info.eos_id, -1, info.vocabulary - 1);
  }

  void check_offsets() const {
    std::int64_t previous = 0;
    require_equal(std::int64_t{0}, offset(0), "the first document must begin at token 0", path.string());
    for (std::int64_t d = 1; d <= info.documents; ++d) {
      const std::int64_t here = offset(d);
      if (here <= previous) {
        throw Error("document offsets must grow")
            .values(fmt::format("> {}", previous), fmt::format("{}", here))
            .at(fmt::format("{} : /document_offsets[{}]", path.string(), d));
      }
      previous = here;
    }
    require_equal(info.tokens, previous, "the last document must end at the last token", path.string());
  }

  // Copies ids and returns the largest; the caller checks it once.
  template <class Stored, class Out>
  std::uint32_t copy(std::int64_t begin, std::int64_t count, Out* out) const {
    std::uint32_t largest = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint32_t id = load<Stored>(token_base, begin + i);
      largest = std::max(largest, id);
      out[i] = static_cast<Out>(id);
    }
    return largest;
  }

  template <class Out>
  void read(std::int64_t begin, std::int64_t count, Out* out) const {
    const std::uint32_t largest =
        width_bytes == 2 ? copy<std::uint16_t>(begin, count, out) : copy<std::uint32_t>(begin, count, out);
    if (count > 0 && std::int64_t{largest} >= info.vocabulary) {
      std::int64_t at = 0;
      while (static_cast<std::uint32_t>(out[at]) != largest) ++at;
      throw Error("the token store holds an id beyond its vocabulary")
          .values(fmt::format("< {}", info.vocabulary), fmt::format("{}", largest))
          .at(fmt::format("{} : /tokens[{}]", path.string(), begin + at))
          .hint("the file is damaged; write it again with: baekji data");
    }
  }

  std::filesystem::path path;
  Hdf5File file;
  FileMap map;
  TokenStoreInfo info;
  int width_bytes = 0;
  const std::byte* token_base = nullptr;
  const std::byte* offset_base = nullptr;
};

Digest document_leaf(std::span<const std::uint32_t> ids) {
  static_assert(std::endian::native == std::endian::little);
  return merkle_leaf(std::as_bytes(ids));
}

Digest data_root(const TokenStoreInfo& info) {
  std::string bytes("baekji-data-root-1");
  bytes.push_back('\0');
  for (const Digest& digest : {info.document_root, info.tokenizer_digest}) {
    bytes.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  }
  for (const std::int64_t value : {info.vocabulary, info.documents, info.training_documents, info.tokens}) {
    append_little_endian(bytes, static_cast<std::uint64_t>(value));
  }
  return sha256(bytes);
}

TokenStore TokenStore::open(const std::filesystem::path& path) {
  return TokenStore(std::make_shared<const Mapping>(path));
}

const std::filesystem::path& TokenStore::path() const {
  return mapping_->path;
}
const TokenStoreInfo& TokenStore::info() const {
  return mapping_->info;
}

std::int64_t TokenStore::document_begin(std::int64_t document) const {
  if (document < 0 || document > info().documents) {
    throw Error("no such document in the token store")
        .values(fmt::format("0..{}", info().documents), fmt::format("{}", document))
        .at(path().string());
  }
  return mapping_->offset(document);
}

std::int64_t TokenStore::document_of(std::int64_t token) const {
  if (token < 0 || token >= tokens()) {
    throw Error("no such token in the token store")
        .values(fmt::format("0..{}", tokens() - 1), fmt::format("{}", token))
        .at(path().string());
  }
  std::int64_t low = 0;  // offset(low) <= token < offset(high)
  std::int64_t high = info().documents;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    if (mapping_->offset(middle) <= token)
      low = middle;
    else
      high = middle;
  }
  return low;
}

void TokenStore::read(std::int64_t begin, std::int64_t count, std::int32_t* out) const {
  if (begin < 0 || count < 0 || begin > tokens() - count) {
    throw Error("tokens outside the store were asked for")
        .values(fmt::format("0..{}", tokens()), fmt::format("{}..{}", begin, begin + count))
        .at(path().string());
  }
  mapping_->read(begin, count, out);
}

void TokenStore::require_tokenizer(const Digest& tokenizer_digest, const std::string& tokenizer_path) const {
  if (info().tokenizer_digest == tokenizer_digest) return;
  throw Error("the token store was made with another tokenizer")
      .values(fmt::format("SHA-256 {} ({})", to_hex(tokenizer_digest), tokenizer_path),
              fmt::format("SHA-256 {}", to_hex(info().tokenizer_digest)))
      .at(path().string())
      .hint("name the tokenizer that made the store, or write the store again with: baekji data");
}

void TokenStore::verify(const std::function<void(std::int64_t)>& progress, ThreadPool* pool) const {
  // Documents whose leaves are made together, before the tree takes them in order; many to a task.
  constexpr std::int64_t kTogether = 16384, kPerTask = 64;
  ThreadPool alone(1);
  if (pool == nullptr) pool = &alone;
  MerkleBuilder tree;
  std::vector<Digest> leaves;
  for (std::int64_t first = 0; first < info().documents; first += kTogether) {
    leaves.resize(static_cast<std::size_t>(std::min(kTogether, info().documents - first)));
    pool->for_ranges(std::ssize(leaves), kPerTask, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::uint32_t> ids;
      for (std::int64_t d = begin; d < end; ++d) {
        const std::int64_t at = mapping_->offset(first + d);
        ids.resize(static_cast<std::size_t>(mapping_->offset(first + d + 1) - at));
        mapping_->read(at, std::ssize(ids), ids.data());
        leaves[static_cast<std::size_t>(d)] = document_leaf(ids);
      }
    });
    for (const Digest& leaf : leaves) tree.add(leaf);
    if (progress) progress(mapping_->offset(first + std::ssize(leaves)));
  }
  if (tree.root() != info().document_root) {
    throw Error("the documents do not have the root that the token store records")
        .values(to_hex(info().document_root), to_hex(tree.root()))
        .at(path().string())
        .hint("the file is damaged; write it again with: baekji data");
  }
}

}  // namespace baekji
