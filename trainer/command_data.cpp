// baekji data: text files -> a token store; or a check of a store that exists.

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <thread>

#include "core/arena.h"
#include "core/error.h"
#include "data/progress.h"
#include "data/token_store_writer.h"
#include "data/tokenizer.h"
#include "trainer/commands.h"

namespace baekji {
namespace {

struct DataArguments {
  TokenStoreOptions store;
  std::int64_t max_document_mib = 256;
  std::filesystem::path verify;
};

void print_info(const TokenStoreInfo& info, std::int64_t training_tokens) {
  std::cout << fmt::format(
      "documents        {} ({} training, {} validation)\n"
      "tokens           {} ({} training, {} validation), {}-bit ids\n"
      "text             {} ({:.3f} bytes per token)\n"
      "data root        {}\n",
      info.documents, info.training_documents, info.documents - info.training_documents, info.tokens, training_tokens,
      info.tokens - training_tokens, 8 * token_width_bytes(info.vocabulary), format_bytes(info.text_bytes),
      static_cast<double>(info.text_bytes) / static_cast<double>(info.tokens), to_hex(data_root(info)));
}

void verify(const DataArguments& arguments) {
  const TokenStore store = TokenStore::open(arguments.verify);
  if (!arguments.store.tokenizer.empty()) {
    store.require_tokenizer(Tokenizer::load(arguments.store.tokenizer).digest(), arguments.store.tokenizer.string());
  }
  {
    const int width = token_width_bytes(store.vocabulary());
    Progress progress("verifying", store.tokens() * width, true);
    store.verify([&](std::int64_t tokens) { progress.update(tokens * width); });
  }
  std::cout << fmt::format("store            {}: every document is as recorded\n", arguments.verify.string());
  print_info(store.info(), store.train_tokens());
}

void build(DataArguments arguments) {
  TokenStoreOptions& options = arguments.store;
  if (options.input.files.empty() || options.tokenizer.empty() || options.output.empty()) {
    throw Error("a token store needs its tokenizer, input and output")
        .values("--tokenizer, --input and --output (or --verify STORE)", "not all of them")
        .at("baekji data");
  }
  options.input.max_document_bytes = arguments.max_document_mib << 20;
  options.show_progress = true;
  const TokenStoreSummary summary = build_token_store(options);
  std::cout << fmt::format("store            {}\n", options.output.string());
  print_info(summary.info, summary.training_tokens);
  const double rate = static_cast<double>(summary.info.text_bytes) / std::max(summary.seconds, 1e-3);
  std::cout << fmt::format("time             {:.1f} s ({}/s)\n", summary.seconds,
                           format_bytes(static_cast<std::int64_t>(rate)));
  if (summary.empty_documents > 0)
    std::cout << fmt::format("left out         {} empty documents\n", summary.empty_documents);
  if (summary.info.documents == 1 && options.validation > 0) {
    std::cout << "note             one document only, so there is no validation split (see --document-separator)\n";
  }
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto arguments = std::make_shared<DataArguments>();
  TokenStoreOptions& store = arguments->store;
  store.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  CLI::App* command = app.add_subcommand("data", "Turn text files into a token store, or verify one");
  command->add_option("--tokenizer,-t", store.tokenizer, "the tokenizer's model file");
  command->add_option("--input,-i", store.input.files, "text or JSONL files: .txt, .jsonl, also .gz, .zst");
  command->add_option("--output,-o", store.output, "the token store to write (HDF5)");
  command->add_option("--text-field", store.input.text_field, "field of a JSONL object that holds the text")
      ->capture_default_str();
  command->add_option("--document-separator", store.input.separator,
                      "a line that ends a document in plain text (default: a file is one document)");
  command->add_option("--validation", store.validation, "share of the documents held out")->capture_default_str();
  command->add_option("--seed", store.shuffle_seed, "seed of the shuffle of documents")->capture_default_str();
  command->add_flag("--bos,!--no-bos", store.add_bos, "start every document with BOS (default: no)");
  command->add_flag("--eos,!--no-eos", store.add_eos, "end every document with EOS (default: yes)");
  command->add_option("--licence", store.licence, "recorded in the store");
  command->add_option("--threads", store.threads, "threads of the tokeniser")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--max-document-mib", arguments->max_document_mib, "longer documents and lines are refused")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 16))
      ->capture_default_str();
  command->add_option("--verify", arguments->verify,
                      "check every token of this store against its root; writes nothing");
  command->callback([arguments] { arguments->verify.empty() ? build(*arguments) : verify(*arguments); });
}

}  // namespace baekji
