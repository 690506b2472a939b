// A real store with some bytes changed (three input bytes each: where, where, value), or cut: an Error or a store whose
// every read is an Error or gives ids below the vocabulary.

#include <cstdlib>

#include "data/token_store_writer.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

std::string make_store(const baekji::fuzz::Folder& folder) {
  baekji::TokenStoreOptions options;
  options.tokenizer = folder.train_tokenizer();
  options.input.files = {folder.write("text.txt", "one\n%\ntwo 배운다\n%\nthree\n%\nfour\n")};
  options.input.separator = "%";
  options.output = folder.path() / "store.h5";
  baekji::build_token_store(options);
  std::ifstream in(options.output, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

// HDF5 1.10 itself leaks a little each time it fails to open a damaged file; leaks of ours still count.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5\n";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("token_store");
  static const std::string good = make_store(folder);
  std::string bytes = good;
  for (std::size_t i = 0; i + 2 < size; i += 3) {
    const std::size_t at = (std::size_t{data[i]} << 8 | data[i + 1]) % good.size();
    bytes[at] = static_cast<char>(data[i + 2]);
  }
  if (size % 3 == 2) bytes.resize((std::size_t{data[size - 2]} << 8 | data[size - 1]) % good.size());
  try {
    const auto store = baekji::TokenStore::open(folder.write("fuzzed.h5", bytes));
    std::vector<std::int32_t> ids(static_cast<std::size_t>(store.tokens()));
    store.read(0, store.tokens(), ids.data());
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= store.vocabulary()) std::abort();
    }
    store.verify();
  } catch (const baekji::Error&) {
    // the expected answer to most changes
  }
  return 0;
}
