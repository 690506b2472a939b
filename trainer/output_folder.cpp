#include "trainer/output_folder.h"

#include "core/error.h"

namespace baekji {

OutputFolder::OutputFolder(const std::filesystem::path& path, FileSystem& files)
    : path_(path.has_filename() ? path : path.parent_path()), partial_(path_.string() + ".partial"), files_(files) {
  if (files_.exists(path_) && (!std::filesystem::is_directory(path_) || !files_.list(path_).empty())) {
    throw Error("the output is there already")
        .values("a new or an empty folder", "a file, or a folder that holds something")
        .at(path_.string())
        .hint("give another --output, or remove this one");
  }
  files_.remove_all(partial_);
  files_.create_directories(partial_);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(partial_, ignored);
}

void OutputFolder::write(const std::string& name, const std::function<void(const ByteSink&)>& produce) {
  const std::unique_ptr<AppendFile> file = files_.open_append(partial_ / name);
  produce([&](std::string_view bytes) { file->append(bytes); });
  file->sync();
}

void OutputFolder::write(const std::string& name, std::string_view bytes) {
  write(name, [&](const ByteSink& sink) { sink(bytes); });
}

void OutputFolder::commit() {
  files_.sync(partial_);
  files_.rename(partial_, path_);
  committed_ = true;
}

}  // namespace baekji
