#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "core/printable.h"
#include "core/untrusted_file.h"
#include "data/tokenizer.h"
#include "model/generator.h"
#include "trainer/commands.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

struct ScoreArguments {
  std::string run;
  std::string text;
  std::optional<std::int64_t> step;
  bool json = false;
  bool logits = false;
  int threads = 0;
};

// log(sum of exp), in fp64 about the maximum.
double log_sum(std::span<const float> logits_V) {
  const double top = static_cast<double>(*std::max_element(logits_V.begin(), logits_V.end()));
  double sum = 0;
  for (const float logit : logits_V) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

// The first token has nothing before it, and so no probability.
nlohmann::ordered_json score_tokens(Generator& generator, const Tokenizer& tokenizer,
                                    std::span<const std::int32_t> tokens, bool logits) {
  auto list = nlohmann::ordered_json::array();
  list.push_back({{"id", tokens[0]}, {"piece", tokenizer.piece(tokens[0])}, {"log_probability", nullptr}});
  auto all = nlohmann::ordered_json::array();
  generator.score(tokens, [&](std::size_t i, std::span<const float> logits_V) {
    if (logits) all.push_back(std::vector<float>(logits_V.begin(), logits_V.end()));
    if (i + 1 == tokens.size()) return;
    const std::int32_t next = tokens[i + 1];
    const double probability = static_cast<double>(logits_V[static_cast<std::size_t>(next)]) - log_sum(logits_V);
    list.push_back({{"id", next}, {"piece", tokenizer.piece(next)}, {"log_probability", probability}});
  });
  nlohmann::ordered_json scores = {{"tokens", std::move(list)}};
  if (logits) scores["logits"] = std::move(all);
  return scores;
}

void print_scores(const nlohmann::ordered_json& scores) {
  for (const auto& token : scores.at("tokens")) {
    const auto& probability = token.at("log_probability");
    fmt::print("{:>8} {:>12} {}\n", token.at("id").get<std::int32_t>(),
               probability.is_null() ? "-" : fmt::format("{:.5f}", probability.get<double>()),
               printable(token.at("piece").dump()));
  }
  fmt::print("step {}, {} tokens scored, loss {:.5f} per token, {:.5f} bits per byte\n",
             scores.at("step").get<std::int64_t>(), scores.at("tokens").size() - 1, scores.at("loss").get<double>(),
             scores.at("bits_per_byte").get<double>());
}

void score(const ScoreArguments& a) {
  const RunFolder folder = open_run_folder(a.run);
  ThreadPool pool(a.threads > 0 ? a.threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  const std::unique_ptr<Kernels> kernels = make_cpu_kernels(pool);
  Arena arena(Arena::Mode::kAllocate);
  SavedModel saved(folder, pool, *kernels, arena, a.step);
  const Tokenizer tokenizer = load_run_tokenizer(folder);
  const std::vector<std::int32_t> tokens = tokenizer.encode(posix_file_system().read(a.text));
  if (tokens.size() < 2)
    throw Error("nothing to score").values("2 tokens of text", fmt::format("{}", tokens.size())).at(a.text);
  Generator generator(saved.generator_args(*kernels), arena);
  nlohmann::ordered_json scores = score_tokens(generator, tokenizer, tokens, a.logits);
  double sum = 0;
  for (const auto& token : scores.at("tokens"))
    if (!token.at("log_probability").is_null()) sum += token.at("log_probability").get<double>();
  const std::size_t first = tokenizer.decode(std::span(tokens).first(1)).size();
  const auto bytes = static_cast<double>(tokenizer.decode(tokens).size() - first);
  scores["step"] = saved.info().step;
  scores["loss"] = -sum / static_cast<double>(tokens.size() - 1);
  scores["bits_per_byte"] = -sum / (std::log(2.0) * std::max(bytes, 1.0));
  if (a.json)
    fmt::print("{}\n", scores.dump());
  else
    print_scores(scores);
}

}  // namespace

void add_score_command(CLI::App& app) {
  auto a = std::make_shared<ScoreArguments>();
  CLI::App* command = app.add_subcommand("score", "how probable a run's model finds a text, token by token");
  command->add_option("run", a->run, "run folder")->required();
  command->add_option("--text", a->text, "file with the text; it must fit the model's context")->required();
  command->add_option("--step", a->step, "which checkpoint; without it the newest good one");
  command->add_flag("--json", a->json, "print one JSON object");
  command->add_flag("--logits", a->logits, "with --json: also the logits after each token");
  command->add_option("--threads", a->threads, "0: all cores")->capture_default_str();
  command->callback([a] { score(*a); });
}

}  // namespace baekji
