// Any bytes as the experiment of a run folder that a stranger made: an Error, or an experiment under a plain layout
// whose resolved text gives it back.

#include <cstdlib>

#include "tests/fuzz/fuzz_folder.h"
#include "trainer/run_experiment.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("experiment");
  folder.write("experiment.toml", {reinterpret_cast<const char*>(data), size});
  std::string text;
  try {
    const baekji::Experiment experiment = baekji::load_run_experiment(folder.path(), {});
    if (experiment.layout.mesh().size() != 1 || !experiment.layout.schedule_file.empty()) std::abort();
    text = baekji::resolved_toml(experiment);
  } catch (const baekji::Error&) {
    return 0;  // the expected answer to most inputs
  }
  folder.write("experiment.toml", text);
  if (baekji::resolved_toml(baekji::load_run_experiment(folder.path(), {})) != text) std::abort();
  return 0;
}
