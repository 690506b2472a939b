// Any bytes as JSONL, text, .gz or .zst (the first byte chooses): documents or an Error, nothing else.

#include "data/document_reader.h"
#include "tests/fuzz/fuzz_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("documents");
  static const char* const kNames[] = {"a.jsonl", "a.txt", "a.jsonl.gz", "a.txt.zst"};
  if (size == 0) return 0;
  const char* name = kNames[data[0] % 4];
  baekji::InputOptions options;
  options.files = {folder.write(name, std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1))};
  options.separator = (data[0] & 4U) != 0 ? "%" : "";
  options.max_document_bytes = 1 << 20;
  try {
    baekji::DocumentReader reader(options);
    for (baekji::Document document; reader.next(document);) {
    }
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  return 0;
}
