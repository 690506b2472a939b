#include "trainer/metrics.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/untrusted_json.h"

namespace baekji {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// The dump writes numbers that are not finite as null, and doubles so that they read back exactly.
std::string to_line(const ordered_json& value) {
  return value.dump() + "\n";
}

// Keeps the lines of steps up to `last_step`. Replaces the file whole, so that a crash in between loses no line.
void drop_later_lines(FileSystem& files, const std::filesystem::path& path, std::int64_t last_step) {
  if (!files.exists(path)) return;
  const std::string text = files.read(path);
  std::string kept;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t newline = text.find('\n', begin);
    if (newline == std::string::npos) break;  // torn
    const std::string_view line(text.data() + begin, newline + 1 - begin);
    const json value = try_parse_json(line).value_or(json());
    const auto step = value.is_object() ? value.find("step") : value.end();
    if (value.is_object() && step != value.end() && step->is_number_integer() &&
        step->get<std::int64_t>() <= last_step) {
      kept += line;
    }
    begin = newline + 1;
  }
  if (kept.size() == text.size()) return;
  const std::filesystem::path temporary = path.string() + ".new";
  files.write(temporary, kept);
  files.rename(temporary, path);
}

double number_or_nan(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

}  // namespace

MetricsWriter::MetricsWriter(const Args& args) : files_(args.files), folder_(args.folder) {
  files_.create_directories(folder_);
  for (const char* name : {kMetricsFile, kValidationFile, kNormsFile}) {
    drop_later_lines(files_, folder_ / name, args.resumed_step);
  }
}

AppendFile& MetricsWriter::open(const char* name) {
  std::unique_ptr<AppendFile>& file = open_[name];
  if (!file) file = files_.open_append(folder_ / name);
  return *file;
}

void MetricsWriter::step(const StepMetrics& m) {
  open(kMetricsFile)
      .append(to_line({{"step", m.step},
                       {"tokens", m.tokens},
                       {"loss", m.loss},
                       {"grad_norm", m.grad_norm},
                       {"learning_rate", m.learning_rate},
                       {"step_s", m.step_s},
                       {"tokens_per_s", m.tokens_per_s},
                       {"mfu", m.mfu},
                       {"memory_bytes", m.memory_bytes},
                       {"save_stall_ms", m.save_stall_ms}}));
}

void MetricsWriter::validation(std::int64_t step, const std::map<std::string, double>& loss_by_source) {
  open(kValidationFile).append(to_line({{"step", step}, {"validation", loss_by_source}}));
}

void MetricsWriter::norms(std::int64_t step, const std::map<std::string, double>& gradient,
                          const std::map<std::string, double>& weight) {
  open(kNormsFile).append(to_line({{"step", step}, {"gradient", gradient}, {"weight", weight}}));
}

void read_json_lines(FileSystem& files, const std::filesystem::path& path,
                     const std::function<void(const json&)>& take) {
  if (!files.exists(path)) return;
  const std::string text = files.read(path);
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t newline = text.find('\n', begin);
    if (newline == std::string::npos) return;
    number += 1;
    const std::string_view line(text.data() + begin, newline - begin);
    const json value = try_parse_json(line).value_or(json());
    if (!value.is_object()) {
      throw Error("a line is no JSON object")
          .values("{\"step\": ...}", line.substr(0, 80))
          .at(fmt::format("{}:{}", path.string(), number))
          .hint("the file was changed by something else; remove the line");
    }
    take(value);
    begin = newline + 1;
  }
}

std::vector<StepMetrics> read_metrics(FileSystem& files, const std::filesystem::path& folder) {
  std::vector<StepMetrics> all;
  const std::filesystem::path path = folder / kMetricsFile;
  read_json_lines(files, path, [&](const json& line) {
    try {
      all.push_back({.step = line.at("step").get<std::int64_t>(),
                     .tokens = line.at("tokens").get<std::int64_t>(),
                     .loss = number_or_nan(line.at("loss")),
                     .grad_norm = number_or_nan(line.at("grad_norm")),
                     .learning_rate = number_or_nan(line.at("learning_rate")),
                     .step_s = number_or_nan(line.at("step_s")),
                     .tokens_per_s = number_or_nan(line.at("tokens_per_s")),
                     .mfu = number_or_nan(line.at("mfu")),
                     .memory_bytes = line.at("memory_bytes").get<std::int64_t>(),
                     // Lines from before it was measured lack it.
                     .save_stall_ms = number_or_nan(line.value("save_stall_ms", json(0.0)))});
    } catch (const json::exception& problem) {
      throw Error("a line of the metrics lacks a key or has one of a wrong type")
          .values("the keys of StepMetrics", line.dump())
          .at(fmt::format("{}, line {}: {}", path.string(), all.size() + 1, problem.what()));
    }
  });
  return all;
}

}  // namespace baekji
