#include "bench/synthetic_store.h"

#include <filesystem>
#include <vector>

#include "core/digest.h"
#include "core/file_system.h"
#include "core/hdf5_writer.h"
#include "core/random.h"
#include "data/token_store.h"

namespace baekji::bench {
namespace {

constexpr std::int64_t kStoreTokens = std::int64_t{1} << 20;
constexpr std::int64_t kDocumentTokens = 4096;
constexpr std::uint64_t kSeed = 1;

void write_attributes(Hdf5Writer& file, const TokenStoreInfo& info) {
  const auto put = [&](const char* name, const auto& value) { file.write_attribute("/", name, value); };
  put("format", std::string("baekji token store"));
  put("format_version", kTokenStoreVersion);
  put("vocabulary", info.vocabulary);
  put("tokens", info.tokens);
  put("documents", info.documents);
  put("training_documents", info.training_documents);
  put("text_bytes", info.text_bytes);
  put("bos_id", info.bos_id);
  put("eos_id", info.eos_id);
  put("shuffle_seed", std::int64_t{0});
  put("tokenizer_digest", to_hex(info.tokenizer_digest));
  put("document_root", to_hex(info.document_root));
  put("data_root", to_hex(data_root(info)));
  put("licence", info.licence);
}

// The format is docs/formats/token-store.md.
void write_store(const std::string& path, std::int64_t vocabulary, const Digest& tokenizer_digest) {
  constexpr std::int64_t kDocuments = kStoreTokens / kDocumentTokens;
  const RandomStream random("baekji.bench.tokens", kSeed, "");
  std::vector<std::uint32_t> ids(kStoreTokens);
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<std::uint32_t>(random.below(i, static_cast<std::uint64_t>(vocabulary)));
  MerkleBuilder tree;
  std::vector<std::uint64_t> offsets;
  for (std::int64_t begin = 0; begin <= kStoreTokens; begin += kDocumentTokens) {
    offsets.push_back(static_cast<std::uint64_t>(begin));
    if (begin < kStoreTokens) tree.add(document_leaf(std::span(ids).subspan(offsets.back(), kDocumentTokens)));
  }
  const TokenStoreInfo info{.vocabulary = vocabulary,
                            .tokens = kStoreTokens,
                            .documents = kDocuments,
                            .training_documents = kDocuments - 1,
                            .text_bytes = kStoreTokens,  // there is no text; the format wants some
                            .tokenizer_digest = tokenizer_digest,
                            .document_root = tree.root(),
                            .licence = "none: random ids of a benchmark",
                            .inputs = {}};
  const std::string partial = path + ".partial";
  Hdf5Writer file(partial);
  const bool narrow_ids = token_width_bytes(vocabulary) == 2;
  const std::uint64_t token_count[] = {ids.size()};
  const std::uint64_t offset_count[] = {offsets.size()};
  const std::uint64_t no_inputs[] = {0};
  Hdf5Handle tokens = file.create_dataset("/tokens", narrow_ids ? H5T_STD_U16LE : H5T_STD_U32LE, token_count);
  hdf5_write_range(tokens, H5T_NATIVE_UINT32, 0, ids.size(), ids.data(), partial);
  Hdf5Handle begins = file.create_dataset("/document_offsets", H5T_STD_U64LE, offset_count);
  hdf5_write_range(begins, H5T_NATIVE_UINT64, 0, offsets.size(), offsets.data(), partial);
  Hdf5Handle inputs = file.create_dataset("/inputs", H5T_STD_U8LE, no_inputs);
  write_attributes(file, info);
  for (Hdf5Handle* set : {&tokens, &begins, &inputs}) set->close("cannot finish a dataset of the token store", partial);
  file.close();
  std::filesystem::rename(partial, path);
}

}  // namespace

void make_missing_stores(const Experiment& e) {
  FileSystem& files = posix_file_system();
  const auto missing = [&](const std::filesystem::path& path) {
    if (files.exists(path)) return false;
    if (path.has_parent_path()) files.create_directories(path.parent_path());
    return true;
  };
  if (missing(e.data.tokenizer))
    files.write(e.data.tokenizer, "no tokenizer: the ids of this benchmark's token stores are random\n");
  const Digest tokenizer_digest = sha256(files.read(e.data.tokenizer));
  for (const SourceConfig& source : e.data.sources) {
    if (missing(source.path)) write_store(source.path, e.model.vocab, tokenizer_digest);
  }
}

}  // namespace baekji::bench
