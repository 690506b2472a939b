#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/printable.h"
#include "data/tokenizer.h"
#include "model/generator.h"
#include "trainer/commands.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

struct GenerateArguments {
  std::string run;
  std::string prompt;
  std::int64_t tokens = 128;
  double temperature = 0.8;
  double top_p = 0.95;
  std::uint64_t seed = 0;
  int threads = 0;
};

void check(const GenerateArguments& a) {
  if (a.temperature < 0)
    throw Error("the temperature must not be negative").values(">= 0", fmt::format("{}", a.temperature));
  if (a.top_p <= 0 || a.top_p > 1)
    throw Error("top-p is a probability").values("0 < top-p <= 1", fmt::format("{}", a.top_p));
  if (a.tokens < 1) throw Error("nothing to generate").values("--tokens >= 1", fmt::format("{}", a.tokens));
}

void run(const GenerateArguments& a) {
  check(a);
  const RunFolder folder = open_run_folder(a.run);
  ThreadPool pool(a.threads > 0 ? a.threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  const std::unique_ptr<Kernels> kernels = make_cpu_kernels(pool);
  Arena arena(Arena::Mode::kAllocate);
  SavedModel saved(folder, pool, *kernels, arena);
  const Tokenizer tokenizer = load_run_tokenizer(folder);

  const std::vector<std::int32_t> encoded = tokenizer.encode(a.prompt);
  std::vector<std::int32_t> prompt;
  if (encoded.empty()) prompt.push_back(tokenizer.eos_id());  // what stands before every document
  prompt.insert(prompt.end(), encoded.begin(), encoded.end());
  Generator generator(saved.generator_args(*kernels), arena);
  std::vector<std::int32_t> made;
  generator.run(prompt, a.tokens, {.temperature = a.temperature, .top_p = a.top_p, .seed = a.seed},
                [&](std::int32_t token) {
                  if (token == tokenizer.eos_id()) return false;
                  made.push_back(token);
                  return true;
                });
  const std::string text = a.prompt + tokenizer.decode(made);
  // What a model says goes into a file as it is; a terminal would obey it.
  fmt::print("{}\n", ::isatty(STDOUT_FILENO) != 0 ? printable_text(text) : text);
}

}  // namespace

void add_generate_command(CLI::App& app) {
  auto a = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "sample text from a run's newest good checkpoint");
  command->add_option("run", a->run, "run folder")->required();
  command->add_option("--prompt", a->prompt, "text to continue");
  command->add_option("--tokens", a->tokens, "most tokens to make")->capture_default_str();
  command->add_option("--temperature", a->temperature, "0 takes the most likely token")->capture_default_str();
  command->add_option("--top-p", a->top_p, "smallest set of tokens with this probability")->capture_default_str();
  command->add_option("--seed", a->seed, "the same seed gives the same text")->capture_default_str();
  command->add_option("--threads", a->threads, "0: all cores")->capture_default_str();
  command->callback([a] { run(*a); });
}

}  // namespace baekji
