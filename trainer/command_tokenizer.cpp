// baekji tokenizer: trains a tokenizer from raw text.

#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "core/arena.h"
#include "data/tokenizer_training.h"
#include "trainer/commands.h"

namespace baekji {
namespace {

struct TokenizerArguments {
  TokenizerTrainingOptions training;
  std::int64_t max_document_mib = 256;
  std::int64_t sample_mib = 200;
};

void run(TokenizerArguments arguments) {
  TokenizerTrainingOptions& options = arguments.training;
  options.input.max_document_bytes = arguments.max_document_mib << 20;
  options.sample_bytes = arguments.sample_mib << 20;
  options.show_progress = true;
  const TokenizerTrainingSummary summary = train_tokenizer(options);
  std::cout << fmt::format(
      "tokenizer        {}\n"
      "pieces           {} ({}-bit ids)\n"
      "text             {} read, {} trained on\n"
      "bytes per token  {:.3f}\n"
      "digest           {}\n",
      options.output.string(), summary.vocabulary, summary.vocabulary <= 65536 ? 16 : 32,
      format_bytes(summary.text_bytes), format_bytes(summary.sampled_bytes), summary.bytes_per_token,
      to_hex(summary.digest));
}

}  // namespace

void add_tokenizer_command(CLI::App& app) {
  auto arguments = std::make_shared<TokenizerArguments>();
  TokenizerTrainingOptions& training = arguments->training;
  CLI::App* command =
      app.add_subcommand("tokenizer", "Train a tokenizer from raw text (SentencePiece BPE, byte fallback)");
  command->add_option("--input,-i", training.input.files, "text or JSONL files: .txt, .jsonl, also .gz, .zst")
      ->required();
  command->add_option("--vocab", training.vocabulary, "pieces in all, 256 byte pieces included")->required();
  command->add_option("--output,-o", training.output, "the SentencePiece model file to write")->required();
  command->add_option("--symbol", training.user_symbols, "a user-defined symbol, always one piece; may be repeated");
  command->add_option("--text-field", training.input.text_field, "field of a JSONL object that holds the text")
      ->capture_default_str();
  command->add_option("--character-coverage", training.character_coverage, "share of characters with their own piece")
      ->capture_default_str();
  command->add_flag("--split-digits,!--no-split-digits", training.split_digits,
                    "every digit a piece of its own (default)");
  command->add_option("--sample-mib", arguments->sample_mib, "text held in memory for training; more is sampled")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--seed", training.seed, "seed of the sample")->capture_default_str();
  command->add_option("--max-document-mib", arguments->max_document_mib, "longer documents and lines are refused")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 16))
      ->capture_default_str();
  command->callback([arguments] { run(*arguments); });
}

}  // namespace baekji
