// The house rules as a test that only tightens: who may include whom, how long files and functions are, what may be
// called where. A rule's exceptions stand in a table with exact counts; a count that falls must be lowered here, and a
// new exception is a decision that a reader of the table sees.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "tests/house/source_scan.h"

namespace baekji::house {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

constexpr std::int64_t kMostFileLines = 500;
constexpr std::int64_t kMostFunctionLines = 70;

/// What each folder may include (and link), from the ground floor up. docs/architecture.md explains why.
const std::map<std::string, Names>& floors() {
  static const std::map<std::string, Names> kFloors{
      {"core", {}},
      {"proof", {"core"}},
      {"data", {"core"}},
      {"kernels", {"core"}},
      {"parallel", {"core", "kernels"}},
      {"model", {"core", "kernels", "parallel"}},
      {"checkpoint", {"core", "proof", "parallel"}},
      {"plan", {"core", "parallel", "model"}},
      {"trainer", {"core", "proof", "data", "kernels", "parallel", "model", "checkpoint", "plan"}},
  };
  return kFloors;
}

/// Libraries that one folder or a few files hide from all others, by how the text between the brackets of an include
/// starts (with the closing bracket: all of it). A home is how a path starts.
const std::map<std::string, Names>& library_homes() {
  static const std::map<std::string, Names> kHomes{
      {"mpi.h>", {"parallel"}},
      {"hdf5.h>", {"core"}},
      {"dnnl", {"kernels"}},
      {"oneapi/", {"kernels"}},
      {"openssl/", {"core"}},
      {"toml++/", {"core"}},
      {"CLI/", {"trainer"}},
      {"sentencepiece", {"data"}},
      {"simdjson", {"data"}},
      {"zlib.h>", {"data"}},
      {"zstd.h>", {"data"}},
      {"omp.h>", {"kernels"}},
      {"spdlog/", {"trainer"}},
      {"random>", {}},
      {"immintrin.h>", {"kernels"}},
      {"regex>", {}},
      {"cuda",
       {"core/device_cuda", "core/cuda_check.h", "kernels/cuda/", "parallel/communicator_nccl", "parallel/group_nccl"}},
      {"cublas", {"kernels/cuda/"}},
      {"cudnn", {"kernels/cuda/"}},
      {"nccl", {"parallel/communicator_nccl", "parallel/group_nccl"}},
  };
  return kHomes;
}

const Names kAll{"core", "proof", "data", "kernels", "parallel", "model", "checkpoint", "plan", "trainer"};
const Names kContract{"core",     "proof", "data",      "kernels",
                      "parallel", "model", "checkpoint"};                // whose results are compared
const Names kNumerics{"core", "proof", "kernels", "parallel", "model"};  // whose arithmetic is

struct Ban {
  std::string rule;
  std::vector<std::string> words;
  Names folders;
};
const std::vector<Ban>& bans() {
  static const std::vector<Ban> kBans{
      {"libm differs between machines: use core/functions.h",
       {"std::exp",    "std::exp2", "std::expm1", "std::log",   "std::log2", "std::log10", "std::log1p",
        "std::sin",    "std::cos",  "std::tan",   "std::tanh",  "std::atan", "std::atan2", "std::asin",
        "std::acos",   "std::pow",  "std::cbrt",  "std::hypot", "std::erf",  "std::erfc",  "std::tgamma",
        "std::lgamma", "expf",      "logf",       "sinf",       "cosf",      "powf",       "tanhf",
        "exp(",        "log(",      "sin(",       "cos(",       "pow(",      "tanh("},
       kContract},
      {"sums in an order of the library's choice", {"std::reduce", "std::transform_reduce", "std::execution"}, kAll},
      {"randomness without a key: use core/random.h",
       {"rand(", "srand", "random(", "drand48", "std::random_device", "std::mt19937", "std::mt19937_64",
        "std::shuffle"},
       kAll},
      {"the clock decides nothing",
       {"time(", "gettimeofday", "clock(", "std::chrono::system_clock", "std::chrono::steady_clock",
        "std::chrono::high_resolution_clock"},
       kContract},
      {"the order of a hash table is nobody's promise", {"std::unordered_map", "std::unordered_set"}, kContract},
      {"threads come from core/thread_pool.h",
       {"std::thread", "std::jthread", "std::async", "pthread_create"},
       kContract},
      {"only the program talks to people",
       {"printf", "fprintf", "puts", "putchar", "std::cout", "std::cerr", "std::clog", "fmt::print"},
       kContract},
      {"memory comes from arenas and containers",
       {"new", "malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "cudaMalloc", "cudaMallocAsync",
        "cudaMallocManaged", "cudaMallocHost", "cudaHostAlloc"},
       kAll},
      {"a whole device is never waited for", {"cudaDeviceSynchronize"}, kAll},
      {"the shell has no place in the program", {"system(", "std::system", "popen"}, kAll},
      {"the one error type is baekji::Error",
       {"throw std::runtime_error", "throw std::invalid_argument", "throw std::logic_error", "throw std::out_of_range"},
       kAll},
      {"mutable state of the process", {"thread_local", "goto", "volatile", "setjmp"}, kAll},
      {"reinterpret_cast hides mistakes", {"reinterpret_cast"}, kAll},
      {"const_cast hides mistakes", {"const_cast"}, kAll},
      {"names are written out", {"using namespace std", "using namespace"}, kAll},
  };
  return kBans;
}

struct Exception {
  std::string file;
  std::string rule;  ///< the start of the rule's text
  std::int64_t count = 0;
  std::string why;
};
/// Today's exceptions. They may shrink, never grow without a reason beside them.
const std::vector<Exception>& exceptions() {
  static const std::vector<Exception> kExceptions{
#include "tests/house/exceptions.inc"
  };
  return kExceptions;
}

fs::path root() {
  return BAEKJI_SOURCE_DIR;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Source {
  std::string path;    ///< from the root
  std::string folder;  ///< its first part
  std::string text;
};

bool is_cpp(const std::string& path) {
  return path.ends_with(".h") || path.ends_with(".cpp") || path.ends_with(".cu") || path.ends_with(".cuh");
}
bool is_python(const Source& s) {
  return s.path.ends_with(".py") || s.text.starts_with("#!/usr/bin/env python3");
}

// Any object may be seen as bytes or characters: those casts hide nothing.
std::string without_byte_views(std::string code) {
  for (const std::string to : {"std::byte*", "const std::byte*", "char*", "const char*"}) {
    const std::string cast = "reinterpret_cast<" + to + ">";
    for (std::size_t at = code.find(cast); at != std::string::npos; at = code.find(cast)) code.erase(at, cast.size());
  }
  return code;
}

// Every hand-written file, sorted. Build folders, data and the history are not looked at.
const std::vector<Source>& sources() {
  static const std::vector<Source> kSources = [] {
    std::vector<Source> all;
    for (const char* top : {"core", "proof", "data", "kernels", "parallel", "model", "checkpoint", "plan", "trainer",
                            "tests", "bench", "scripts", "cmake", "configs", "docs", ".ci"}) {
      if (!fs::exists(root() / top)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root() / top)) {
        const std::string path = fs::relative(entry.path(), root()).string();
        const bool generated = path.find("__pycache__") != std::string::npos;
        const std::string extension = entry.path().extension().string();
        const Names kText{".h",     ".cpp", ".cu",   ".cuh",  ".inc", ".py", ".sh",
                          ".cmake", ".txt", ".toml", ".yaml", ".md",  ""};
        if (entry.is_regular_file() && !generated && kText.contains(extension))
          all.push_back({path, top, read(entry.path())});
      }
    }
    for (const char* name :
         {"CMakeLists.txt", "CMakePresets.json", "README.md", ".clang-format", ".clang-tidy", ".gitignore"}) {
      if (fs::exists(root() / name)) all.push_back({name, "", read(root() / name)});
    }
    std::sort(all.begin(), all.end(), [](const Source& a, const Source& b) { return a.path < b.path; });
    return all;
  }();
  return kSources;
}

// What the sources break: by (rule, file) the count, held against the table of exceptions.
class Verdict {
 public:
  void add(const std::string& rule, const std::string& file, std::int64_t count, const std::string& detail) {
    if (count == 0) return;
    counts_[{file, rule}] += count;
    details_[{file, rule}] += "\n    " + detail;
  }
  // `owned`: whether a rule is this test's, so that its stale exceptions are found.
  template <class Owned>
  void hold(const Owned& owned) {
    for (const Exception& e : exceptions()) {
      if (!owned(e.rule)) continue;
      auto found = counts_.begin();
      while (found != counts_.end() && !(found->first.first == e.file && found->first.second.starts_with(e.rule)))
        ++found;
      const std::int64_t now = found == counts_.end() ? 0 : found->second;
      EXPECT_GE(now, e.count) << e.file << ": \"" << e.rule
                              << "\" is broken less often than the table allows: tighten it to " << now
                              << " in tests/house/exceptions.inc";
      EXPECT_FALSE(e.why.empty()) << e.file << ": an exception needs its reason";
      if (now <= e.count && found != counts_.end()) counts_.erase(found);
    }
    for (const auto& [key, count] : counts_) {
      ADD_FAILURE() << key.first << ": " << key.second << " (" << count << " times)" << details_[key];
    }
  }

 private:
  std::map<std::pair<std::string, std::string>, std::int64_t> counts_;
  std::map<std::pair<std::string, std::string>, std::string> details_;
};

TEST(HouseTest, AFolderIncludesOnlyFromFoldersBelowIt) {
  std::int64_t checked = 0;
  for (const Source& s : sources()) {
    if (!is_cpp(s.path)) continue;
    for (const Include& include : includes_of(s.text)) {
      const std::string target = include.path.substr(0, include.path.find('/'));
      if (!include.quoted) {
        for (const auto& [library, homes] : library_homes()) {
          if (!kAll.contains(s.folder) || !(include.path + ">").starts_with(library)) continue;
          const bool home = std::any_of(homes.begin(), homes.end(),
                                        [&](const std::string& start) { return s.path.starts_with(start); });
          EXPECT_TRUE(home) << s.path << " includes <" << include.path << ">, which has another home";
        }
        continue;
      }
      checked += 1;
      EXPECT_TRUE(fs::exists(root() / include.path) || include.path.ends_with(".inc"))
          << s.path << " includes \"" << include.path << "\": includes are written from the root";
      if (!kAll.contains(s.folder)) continue;
      EXPECT_TRUE(target == s.folder || floors().at(s.folder).contains(target))
          << s.path << " includes \"" << include.path << "\": " << s.folder << " stands below " << target;
    }
  }
  std::cout << "checked " << checked << " includes of own headers\n";
  EXPECT_GT(checked, 200);
}

TEST(HouseTest, ATargetLinksOnlyFoldersBelowIt) {
  for (const auto& [folder, below] : floors()) {
    std::istringstream lists(read(root() / folder / "CMakeLists.txt"));
    std::string line;
    while (std::getline(lists, line) && !line.starts_with("baekji_folder(")) {
    }
    ASSERT_TRUE(line.starts_with("baekji_folder(" + folder)) << folder << "/CMakeLists.txt";
    for (std::size_t at = line.find("baekji_", 7); at != std::string::npos; at = line.find("baekji_", at + 1)) {
      const std::string target = line.substr(at + 7, line.find_first_of(" )", at) - at - 7);
      EXPECT_TRUE(below.contains(target)) << folder << " links " << target;
    }
  }
}

TEST(HouseTest, FilesAndFunctionsAreShort) {
  Verdict verdict;
  std::int64_t files = 0;
  std::int64_t functions = 0;
  for (const Source& s : sources()) {
    const bool code = is_cpp(s.path) || is_python(s) || s.folder == "scripts" || s.folder == "cmake" ||
                      s.folder == ".ci" || s.path.ends_with(".sh");
    if (!code) continue;
    files += 1;
    const auto lines = static_cast<std::int64_t>(split_lines(s.text).size());
    if (lines > kMostFileLines) verdict.add("file over 500 lines", s.path, lines, std::to_string(lines) + " lines");
    std::vector<Function> found;
    if (is_cpp(s.path)) found = FunctionFinder(blank_literals(s.text)).run();
    if (is_python(s)) found = python_functions(s.text);
    functions += static_cast<std::int64_t>(found.size());
    for (const Function& f : found) {
      if (f.lines <= kMostFunctionLines) continue;
      verdict.add("function over 70 lines", s.path, 1,
                  s.path + ":" + std::to_string(f.first_line) + "  " + std::to_string(f.lines) + " lines: " + f.head);
    }
  }
  verdict.hold([](const std::string& rule) { return rule.find(" over ") != std::string::npos; });
  std::cout << "checked " << files << " files and " << functions << " functions\n";
  EXPECT_GT(functions, 500);
}

TEST(HouseTest, BannedCallsStayInTheirPlaces) {
  Verdict verdict;
  std::int64_t files = 0;
  std::int64_t words = 0;
  for (const Source& s : sources()) {
    if (!is_cpp(s.path) || !kAll.contains(s.folder)) continue;
    files += 1;
    const std::string code = without_byte_views(blank_literals(s.text));
    for (const Ban& ban : bans()) {
      if (!ban.folders.contains(s.folder)) continue;
      for (const std::string& word : ban.words) {
        words += 1;
        const std::int64_t count = count_word(code, word);
        verdict.add(ban.rule, s.path, count, word + " x " + std::to_string(count));
      }
    }
  }
  verdict.hold([](const std::string& rule) {
    return std::any_of(bans().begin(), bans().end(), [&](const Ban& ban) { return ban.rule.starts_with(rule); });
  });
  std::cout << "checked " << words << " pairs of a file and a banned word in " << files << " files\n";
}

TEST(HouseTest, ExceptionsNameRulesAndFilesThatExist) {
  for (const Exception& e : exceptions()) {
    EXPECT_TRUE(fs::exists(root() / e.file)) << e.file << " is in the table of exceptions but not in the tree";
    const bool length = e.rule == "file over 500 lines" || e.rule == "function over 70 lines";
    EXPECT_TRUE(length ||
                std::any_of(bans().begin(), bans().end(), [&](const Ban& ban) { return ban.rule.starts_with(e.rule); }))
        << "no such rule: " << e.rule;
  }
}

TEST(HouseTest, HeadersSayWhatTheyAre) {
  std::int64_t headers = 0;
  for (const Source& s : sources()) {
    if (!s.path.ends_with(".h") && !s.path.ends_with(".cuh")) continue;
    headers += 1;
    const std::vector<std::string> lines = split_lines(s.text);
    ASSERT_GE(lines.size(), 3U) << s.path;
    EXPECT_EQ(lines[0], "#pragma once") << s.path;
    EXPECT_TRUE(lines[1].starts_with("// ")) << s.path << ": the second line begins to say what the header is for";
  }
  std::cout << "checked " << headers << " headers\n";
}

TEST(HouseTest, TextIsClean) {
  std::int64_t lines_checked = 0;
  for (const Source& s : sources()) {
    const bool prose = s.path.ends_with(".md");
    const bool foreign_text =
        prose || s.folder == "tests" || s.path == "scripts/demo" || s.path.starts_with("scripts/corpus");
    EXPECT_TRUE(s.text.empty() || s.text.back() == '\n') << s.path << " does not end its last line";
    const std::vector<std::string> lines = split_lines(s.text);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string place = s.path + ":" + std::to_string(i + 1);
      lines_checked += 1;
      EXPECT_EQ(lines[i].find('\t'), std::string::npos) << place << " holds a tab";
      EXPECT_EQ(lines[i].find('\r'), std::string::npos) << place << " holds a carriage return";
      EXPECT_TRUE(lines[i].empty() || lines[i].back() != ' ') << place << " ends in blanks";
      const bool ascii =
          std::all_of(lines[i].begin(), lines[i].end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
      EXPECT_TRUE(ascii || foreign_text) << place << " holds characters beyond ASCII";
    }
  }
  std::cout << "checked " << lines_checked << " lines in " << sources().size() << " files\n";
}

TEST(HouseTest, ScriptsStopAtTheFirstError) {
  std::int64_t scripts = 0;
  for (const Source& s : sources()) {
    if (!s.text.starts_with("#!") || s.folder == "tests") continue;  // what a test starts, it starts by its interpreter
    scripts += 1;
    const auto permissions = fs::status(root() / s.path).permissions();
    EXPECT_NE(permissions & fs::perms::owner_exec, fs::perms::none) << s.path << " is not executable";
    const bool bash = s.text.find("bash") < s.text.find('\n');
    EXPECT_TRUE(!bash || s.text.find("\nset -euo pipefail\n") != std::string::npos) << s.path;
  }
  std::cout << "checked " << scripts << " scripts\n";
  EXPECT_GE(scripts, 5);
}

// "](docs/x.md)" in README.md and docs/: the file must be there.
TEST(HouseTest, LinksInTheDocumentsLead) {
  std::int64_t links = 0;
  for (const Source& s : sources()) {
    if (!s.path.ends_with(".md")) continue;
    for (std::size_t at = s.text.find("]("); at != std::string::npos; at = s.text.find("](", at + 1)) {
      std::string target = s.text.substr(at + 2, s.text.find(')', at) - at - 2);
      target = target.substr(0, target.find('#'));
      if (target.empty() || target.find("://") != std::string::npos || target.find(' ') != std::string::npos) continue;
      links += 1;
      EXPECT_TRUE(fs::exists((root() / s.path).parent_path() / target))
          << s.path << " links to " << target << ", which is not there";
    }
  }
  std::cout << "checked " << links << " links\n";
}

}  // namespace
}  // namespace baekji::house
