// Any bytes as a cluster file: an Error or a cluster.

#include "plan/cluster.h"
#include "tests/fuzz/fuzz_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baekji::fuzz::Folder folder("cluster");
  const auto path = folder.write("cluster.toml", {reinterpret_cast<const char*>(data), size});
  try {
    (void)baekji::load_cluster(path);
  } catch (const baekji::Error&) {
    // the expected answer to most inputs
  }
  return 0;
}
