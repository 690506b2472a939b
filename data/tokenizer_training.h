#pragma once
// Trains the tokenizer: SentencePiece's BPE trainer over a bounded, seeded sample of the text.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/digest.h"
#include "data/document_reader.h"

namespace baekji {

struct TokenizerTrainingOptions {
  InputOptions input;
  std::filesystem::path output;
  std::int64_t vocabulary = 0;  ///< pieces, with unknown, BOS, EOS, newline, the 256 byte pieces and the symbols
  std::vector<std::string>
      user_symbols;                    ///< always one piece where they stand in the text; no spaces or newlines in them
  double character_coverage = 0.9995;  ///< share of the text's characters that get a piece of their own
  bool split_digits = true;            ///< every digit a piece of its own (numbers are then read digit by digit)
  std::int64_t sample_bytes = std::int64_t{200} << 20;  ///< text held in memory for training; more is sampled by line
  std::uint64_t seed = 0;                               ///< of the sample
  bool show_progress = false;
};

struct TokenizerTrainingSummary {
  std::int64_t vocabulary = 0;
  std::int64_t text_bytes = 0;     ///< read
  std::int64_t sampled_bytes = 0;  ///< trained on
  double bytes_per_token = 0;      ///< over (at most 4 MiB of) the sample
  Digest digest{};
};

/// Writes a SentencePiece model to `output` (under a temporary name, synced, renamed). The file's bytes depend on the
/// text, the order of the inputs and the options alone: the same digest on every machine with this SentencePiece
/// version. Throws Error on bad input (see DocumentReader), on input without text, and on a vocabulary that is too
/// small for the characters or too large for the text; `output` is then as it was before.
TokenizerTrainingSummary train_tokenizer(const TokenizerTrainingOptions& options);

}  // namespace baekji
