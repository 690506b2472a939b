#pragma once
// A tiny experiment on real files: text, tokenizer, two token stores and an experiment file in a temporary folder.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/token_store_writer.h"
#include "data/tokenizer_training.h"
#include "trainer/experiment.h"
#include "trainer/trainer.h"

namespace baekji::tiny {

namespace fs = std::filesystem;

/// Text with structure enough to be learned: sentences of a small grammar, as JSON Lines.
inline void write_corpus(const fs::path& path, std::uint64_t seed) {
  const char* const subjects[] = {"the cat", "a dog", "my friend", "the old man", "nobody", "every child"};
  const char* const verbs[] = {"sees", "likes", "finds", "draws", "forgets", "remembers"};
  const char* const objects[] = {"the moon",     "a blank page", "\xEB\xB0\xB1\xEC\xA7\x80",
                                 "seven stones", "the river",    "an open door"};
  const RandomStream stream("tiny", seed, "corpus");
  std::uint64_t n = 0;
  std::ofstream file(path);
  for (int document = 0; document < 120; ++document) {
    std::string text;
    for (int sentence = 0; sentence < 12; ++sentence) {
      text += std::string(subjects[stream.below(n, 6)]) + " " + verbs[stream.below(n + 1, 6)] + " " +
              objects[stream.below(n + 2, 6)] + ". ";
      n += 3;
    }
    file << nlohmann::json{{"text", text}}.dump() << "\n";
  }
}

/// The data of all tests of one process, made once.
inline const fs::path& data_folder() {
  static const fs::path folder = [] {
    const fs::path made = fs::path(testing::TempDir()) / ("baekji_tiny_" + std::to_string(getpid()));
    fs::create_directories(made);
    write_corpus(made / "a.jsonl", 1);
    write_corpus(made / "b.jsonl", 2);
    train_tokenizer(
        {.input = {.files = {made / "a.jsonl", made / "b.jsonl"}}, .output = made / "tok.model", .vocabulary = 331});
    for (const char* name : {"a", "b"}) {
      build_token_store({.input = {.files = {made / (std::string(name) + ".jsonl")}},
                         .tokenizer = made / "tok.model",
                         .output = made / (std::string(name) + ".h5"),
                         .validation = 0.1});
    }
    return made;
  }();
  return folder;
}

/// The experiment file of the tests; every key can be overridden with "section.key=value".
inline fs::path experiment_file() {
  const fs::path path = data_folder() / "tiny.toml";
  std::ofstream(path)
      << "[experiment]\nname = 'tiny'\nseed = 5\n"
         "[model]\nlayers = 2\nhidden = 32\nheads = 4\nkv_heads = 4\nffn = 48\nvocab = 333\ncontext = 32\nqk_norm = "
         "true\ndocument_mask = true\n"
         "[data]\ntokenizer = '"
      << (data_folder() / "tok.model").string() << "'\n[[data.source]]\nname = 'a'\npath = '"
      << (data_folder() / "a.h5").string() << "'\nweight = 0.75\n[[data.source]]\nname = 'b'\npath = '"
      << (data_folder() / "b.h5").string()
      << "'\nweight = 0.25\n"
         "[optimizer]\nlr = 5e-3\nwarmup = 4\ndecay = 40\n"
         "[numerics]\nglobal_batch = 8\nmicro_batch = 2\nreplicas = 2\ntensor_grains = 2\nloss_chunk = 24\n"
         "[layout]\nthreads = 1\n"
         "[run]\nsteps = 6\ncheckpoint_every = 2\nkeep = 3\nevaluate_every = 0\nevaluate_sequences = 4\n"
         "[log]\ntensorboard = false\nmeasure_ceiling = false\n";
  return path;
}

inline fs::path fresh_folder(const std::string& name) {
  const fs::path folder = data_folder() / name;
  fs::remove_all(folder);
  return folder;
}

inline Experiment load(const fs::path& output, std::vector<std::string> overrides = {}) {
  overrides.push_back("run.output='" + output.string() + "'");
  return load_experiment(experiment_file(), overrides);
}

inline nlohmann::json summary(const fs::path& run) {
  std::ifstream file(run / "summary.json");
  return nlohmann::json::parse(file);
}

/// Trains on one rank, in this process.
inline void train_alone(const Experiment& e, const TrainOptions& options = {}) {
  const auto world = make_self_communicator();
  train(e, options, *world);
}

/// Trains in this process and returns the state root at the end.
inline std::string train_root(const fs::path& output, const std::vector<std::string>& overrides = {}) {
  train_alone(load(output, overrides));
  return summary(output).at("state_root");
}

/// Starts the real program; returns its process id. Output goes to `log`.
inline pid_t start_program(const std::vector<std::string>& arguments, const fs::path& log) {
  const pid_t child = fork();
  if (child != 0) return child;
  std::vector<char*> argv;
  std::string binary = BAEKJI_BINARY;
  argv.push_back(binary.data());
  std::vector<std::string> copy = arguments;
  for (std::string& argument : copy) argv.push_back(argument.data());
  argv.push_back(nullptr);
  // MPI's plugins are unloaded before a sanitizer looks for leaks, so no suppression can name what they keep.
  const char* const sanitizer = std::getenv("ASAN_OPTIONS");
  setenv("ASAN_OPTIONS", (std::string(sanitizer == nullptr ? "" : sanitizer) + ":detect_leaks=0").c_str(), 1);
  if (freopen(log.c_str(), "w", stdout) == nullptr || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) _exit(126);
  execv(binary.c_str(), argv.data());
  _exit(127);
}

/// Exit status of the program, or -signal.
inline int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

inline std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace baekji::tiny
