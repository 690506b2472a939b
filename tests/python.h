#pragma once
// Runs a Python script of the test suite and takes what it prints.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

namespace baekji {

/// A Python 3 that has these modules; empty when there is none. Debian's own comes second: a machine may have another
/// one first on its path, which does not see Debian's packages.
inline std::string find_python(const std::string& modules = "json") {
  for (const char* python : {"python3", "/usr/bin/python3"}) {
    if (std::system((std::string(python) + " -c 'import " + modules + "' >/dev/null 2>&1").c_str()) == 0) return python;
  }
  return "";
}

struct PythonResult {
  int status = -1;
  std::string output;
};

/// `script` is relative to the source directory; `input` becomes its standard input.
inline PythonResult run_python(const std::string& python, const std::string& script, const std::string& arguments,
                               const std::string& input = "") {
  const std::string file = testing::TempDir() + "baekji_python_" + std::to_string(getpid()) + ".json";
  std::ofstream(file) << input;
  const std::string command = python + " '" BAEKJI_SOURCE_DIR "/" + script + "' " + arguments + " < " + file + " 2>&1";
  PythonResult result;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) result.output.append(buffer, n);
  result.status = pclose(pipe);
  while (!result.output.empty() && result.output.back() == '\n') result.output.pop_back();
  return result;
}

}  // namespace baekji
