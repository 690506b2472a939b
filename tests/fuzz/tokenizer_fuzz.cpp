// decode(encode(x)) == x for any bytes, and no control id ever comes out of text.

#include <cstdlib>

#include "data/tokenizer.h"
#include "tests/fuzz/fuzz_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("tokenizer");
  static const baekji::Tokenizer tokenizer = baekji::Tokenizer::load(folder.train_tokenizer());
  static baekji::Encoder encoder(tokenizer);
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::vector<std::int32_t> ids;
  encoder.append(bytes, ids);
  if (tokenizer.decode(ids) != bytes || ids != tokenizer.encode(bytes)) std::abort();
  for (const std::int32_t id : ids) {
    if (id <= 2) std::abort();  // unknown, BOS, EOS
  }
  return 0;
}
