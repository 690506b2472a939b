#include "trainer/release_files.h"

#include <algorithm>

#include "checkpoint/file_digest.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

// The files that verifiers will look at.
std::vector<std::string> files_of(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw Error("not an export").values("a folder", "none").at(folder.string());
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).generic_string();
    if (entry.is_symlink() || (!entry.is_directory() && !entry.is_regular_file())) {
      throw Error("an export holds plain files only")
          .values("a file", "a link or something else")
          .at(entry.path().string());
    }
    if (!entry.is_directory() && !ignored_by_model_signature(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

void require_release_files(const fs::path& folder, std::span<const AttestedSubject> files) {
  std::vector<std::string> expected;
  for (const AttestedSubject& file : files) expected.push_back(file.name);
  std::sort(expected.begin(), expected.end());
  require_equal(fmt::format("{}", fmt::join(expected, ", ")), fmt::format("{}", fmt::join(files_of(folder), ", ")),
                "the export has other files than it should", folder.string());
  for (const AttestedSubject& file : files) {
    require_equal(to_hex(file.digest), to_hex(file_digest(folder / file.name)),
                  "a file of the export is not what the run's state gives (SHA-256)", (folder / file.name).string());
  }
}

std::vector<AttestedSubject> digests_of(ModelExport& model) {
  return model.produce([](const std::string&, const std::function<void(const ByteSink&)>& produce) {
    produce([](std::string_view) {});
  });
}

}  // namespace baekji
