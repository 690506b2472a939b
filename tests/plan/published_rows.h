#pragma once
// Rows of published measurements (CSV), and the workloads that they describe.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "plan/workload.h"

namespace baekji::published {

using Cells = std::map<std::string, std::string>;

inline std::int64_t number_or(const Cells& row, const std::string& key, std::int64_t otherwise) {
  const std::string& text = row.at(key);
  return text.empty() ? otherwise : std::stoll(text);
}

inline std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

inline std::string kind_of(const std::string& precision) {
  if (precision.find("FP4") != std::string::npos) return "fp4";
  return precision.find("FP8") != std::string::npos ? "fp8" : "bf16";
}

inline std::vector<std::string> csv_cells(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      cells.emplace_back();
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  return cells;
}

inline Recompute recompute_of(const std::string& text) {
  if (text.starts_with("full")) return Recompute::kFull;
  return text.starts_with("selective") ? Recompute::kSelective : Recompute::kNone;
}

inline Workload workload_of(const Cells& row, const std::string& profile) {
  Workload w;
  w.model = {.layers = number_or(row, "layers", 1),
             .hidden = number_or(row, "hidden", 1),
             .heads = number_or(row, "heads", 1),
             .kv_heads = number_or(row, "kv_heads", number_or(row, "heads", 1)),
             .head_width = number_or(row, "hidden", 1) / number_or(row, "heads", 1),
             .ffn = number_or(row, "ffn", 1),
             .gate = upper(row.at("model")).find("LLAMA") == std::string::npos ? 1 : 2,
             .vocab = number_or(row, "vocab", 1)};
  ParallelLayout& l = w.layout;
  l.tensor = number_or(row, "tp", 1);
  l.context = number_or(row, "cp", 1);
  l.pipeline = number_or(row, "pp", 1);
  l.virtual_stages = number_or(row, "vp", 1);
  l.schedule = l.virtual_stages > 1 ? "interleaved" : "1f1b";
  l.data = number_or(row, "gpus", 1) / (l.tensor * l.context * l.pipeline);
  const std::string& zero = row.at("zero_stage");
  l.zero = zero == "0" || zero == "1" || zero == "2" || zero == "3" ? std::stoll(zero) : 1;
  if (profile == "megatron-2021" && zero.empty()) l.zero = 0;
  l.recompute = recompute_of(row.at("recompute"));
  const std::string kind = kind_of(row.at("precision"));
  w.precision = kind == "fp4" ? Precision::kFloat4 : kind == "fp8" ? Precision::kFloat8 : Precision::kBfloat16;
  w.sequence = number_or(row, "seq", 1);
  w.micro_batch = number_or(row, "micro_batch", 1);
  constexpr std::int64_t kUsualMicroBatches = 4;
  w.global_batch = number_or(row, "global_batch", kUsualMicroBatches * w.micro_batch * l.data);
  return w;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

inline std::vector<Cells> read_rows(const std::string& name) {
  std::ifstream file(std::string(BAEKJI_SOURCE_DIR) + "/tests/plan/" + name);
  EXPECT_TRUE(file.good()) << name;
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> keys = csv_cells(line);
  std::vector<Cells> rows;
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = csv_cells(line);
    Cells& row = rows.emplace_back();
    for (std::size_t i = 0; i < keys.size(); ++i) row[keys[i]] = cells.at(i);
  }
  return rows;
}

}  // namespace baekji::published
