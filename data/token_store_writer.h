#pragma once
// build_token_store: text files -> one token store, in bounded memory. Documents are tokenised into a spool file beside
// the output, then written in shuffled order.

#include <cstdint>
#include <filesystem>
#include <string>

#include "data/document_reader.h"
#include "data/token_store.h"

namespace baekji {

struct TokenStoreOptions {
  InputOptions input;
  std::filesystem::path tokenizer;
  std::filesystem::path output;
  double validation = 0.01;  ///< share of the documents held out, in [0, 0.5]; at least one when > 0 and there are two
  std::uint64_t shuffle_seed = 0;
  bool add_bos = false;
  bool add_eos = true;
  std::string licence;
  int threads = 1;  ///< of the tokeniser; the store does not depend on it
  bool show_progress = false;
};

struct TokenStoreSummary {
  TokenStoreInfo info;
  std::int64_t training_tokens = 0;
  std::int64_t empty_documents = 0;  ///< without text: left out
  double seconds = 0;
  double bytes_per_token() const { return static_cast<double>(info.text_bytes) / static_cast<double>(info.tokens); }
};

/// On success `output` is a complete store, on the disk. On failure (bad input, a full disk: Error) `output` is as it
/// was before, and no other file is left; a killed process leaves at most `output`.partial, which the next run
/// overwrites. The store's contents depend on the inputs, their order and the options alone.
TokenStoreSummary build_token_store(const TokenStoreOptions& options);

}  // namespace baekji
