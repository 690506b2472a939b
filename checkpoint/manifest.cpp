#include "checkpoint/manifest.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "checkpoint/index_file.h"
#include "checkpoint/shard_file.h"
#include "core/error.h"
#include "proof/contract.h"

namespace baekji {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "baekji.checkpoint.v1";
constexpr std::array<std::string_view, 3> kSplitNames{"none", "rows", "columns"};

Split parse_split(const std::string& name) {
  for (std::size_t i = 0; i < kSplitNames.size(); ++i) {
    if (kSplitNames[i] == name) return static_cast<Split>(i);
  }
  throw Error("no such split").values("none, rows, columns", name);
}

json tensor_json(const LogicalTensor& tensor) {
  return {{"name", tensor.name},
          {"padded_rows", tensor.padded_rows},
          {"shape", tensor.shape},
          {"slices", tensor.slices},
          {"split", kSplitNames[static_cast<std::size_t>(tensor.split)]}};
}

void check_geometry(const LogicalTensor& tensor) {
  const bool ranked = tensor.shape.size() == 1 || tensor.shape.size() == 2;
  bool sound = ranked && tensor.slices >= 1 && (tensor.split != Split::kNone || tensor.slices == 1);
  // No product of extents overflows below.
  constexpr std::int64_t kMostElements = std::int64_t{1} << 53;
  std::int64_t elements = 1;
  for (const std::int64_t extent : tensor.shape) {
    sound = sound && extent >= 1 && extent <= kMostElements / elements;
    if (sound) elements *= extent;
  }
  if (sound) sound = tensor.padded_rows >= 0 && tensor.padded_rows <= kMostElements / tensor.columns();
  if (sound && tensor.padded_rows != 0) sound = tensor.split == Split::kRows && tensor.padded_rows >= tensor.rows();
  if (sound && tensor.split != Split::kNone) {
    const std::int64_t rows = tensor.padded_rows == 0 ? tensor.rows() : tensor.padded_rows;
    sound = ranked && tensor.shape.size() == 2 &&
            (tensor.split == Split::kRows ? rows : tensor.columns()) % tensor.slices == 0;
  }
  if (!sound)
    throw Error("a tensor has an impossible geometry")
        .values("one or two dims that its slices divide", describe_geometry(tensor))
        .at(tensor.name);
  const bool nameable = !tensor.name.empty() && tensor.name.find('/') == std::string::npos &&
                        tensor.name.find('\0') == std::string::npos && tensor.name != "." && tensor.name != "moment1" &&
                        tensor.name != "moment2";
  if (!nameable)
    throw Error("a tensor has a name that an HDF5 file cannot hold")
        .values("no '/', not empty, '.', 'moment1' or 'moment2'", tensor.name);
}

LogicalTensor parse_tensor(const json& value) {
  LogicalTensor tensor{.name = value.at("name").get<std::string>(),
                       .shape = value.at("shape").get<std::vector<std::int64_t>>(),
                       .split = parse_split(value.at("split").get<std::string>()),
                       .slices = value.at("slices").get<std::int64_t>(),
                       .padded_rows = value.at("padded_rows").get<std::int64_t>()};
  check_geometry(tensor);
  return tensor;
}

json file_json(const SavedFile& file) {
  return {{"name", file.name}, {"sha256", to_hex(file.digest)}, {"size_bytes", file.size_bytes}};
}

SavedFile parse_file(const json& value) {
  return {.name = value.at("name").get<std::string>(),
          .size_bytes = value.at("size_bytes").get<std::int64_t>(),
          .digest = parse_digest(value.at("sha256").get<std::string>())};
}

json info_json(const CheckpointInfo& info) {
  return {{"contract", to_hex(info.contract)},
          {"kernel_set", to_json_value(info.kernel_set)},
          {"position", info.position},
          {"state_root", to_hex(info.state_root)},
          {"step", info.step},
          {"tensor_grains", info.tensor_grains},
          {"tokens", info.tokens},
          {"updates", info.updates}};
}

CheckpointInfo parse_info(const json& value, const std::string& place) {
  CheckpointInfo info;
  info.contract = parse_digest(value.at("contract").get<std::string>());
  info.kernel_set = parse_kernel_set(value.at("kernel_set"), place);
  info.position = value.at("position").get<std::int64_t>();
  info.state_root = parse_digest(value.at("state_root").get<std::string>());
  info.step = value.at("step").get<std::int64_t>();
  info.tensor_grains = value.at("tensor_grains").get<std::int64_t>();
  info.tokens = value.at("tokens").get<std::int64_t>();
  info.updates = value.at("updates").get<std::int64_t>();
  return info;
}

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

// Every element of every slice of every tensor exactly once; ranges sorted by (tensor, slice, begin).
void check_cover(const Manifest& manifest) {
  auto next = manifest.ranges.begin();
  for (std::size_t t = 0; t < manifest.tensors.size(); ++t) {
    const LogicalTensor& tensor = manifest.tensors[t];
    for (std::int64_t slice = 0; slice < tensor.slices; ++slice) {
      std::int64_t covered = 0;
      while (next != manifest.ranges.end() && next->range.tensor == static_cast<std::int64_t>(t) &&
             next->range.slice == slice) {
        const SavedRange& range = next->range;
        if (range.begin != covered || range.count < 1 || range.count > tensor.slice_elements() - covered ||
            next->shard < 0 || next->shard >= static_cast<std::int64_t>(manifest.shards.size())) {
          throw Error("the parts of a tensor overlap or leave a gap")
              .values(fmt::format("slice {} goes on at element {}", slice, covered),
                      fmt::format("elements {} to {}", range.begin, range.begin + range.count))
              .at(tensor.name);
        }
        covered += range.count;
        ++next;
      }
      require_equal(tensor.slice_elements(), covered,
                    fmt::format("slice {} of a tensor is not saved whole (elements)", slice), tensor.name);
    }
  }
  if (next != manifest.ranges.end())
    throw Error("a saved part belongs to no slice of a tensor")
        .values("a slice that exists", fmt::format("tensor {} slice {}", next->range.tensor, next->range.slice));
}

void check_manifest(const Manifest& manifest) {
  for (std::size_t w = 0; w < manifest.shards.size(); ++w) {
    require_equal(shard_file_name(static_cast<std::int64_t>(w)), manifest.shards[w].name,
                  "a checkpoint has one shard of each writer", "files");
  }
  for (std::size_t t = 0; t < manifest.tensors.size(); ++t) {
    const LogicalTensor& tensor = manifest.tensors[t];
    if (t > 0 && !(manifest.tensors[t - 1].name < tensor.name)) throw Error("tensors are not in order").at(tensor.name);
    if (tensor.split != Split::kNone)
      require_equal(manifest.info.tensor_grains, tensor.slices,
                    "a tensor has another number of slices than tensor_grains", tensor.name);
  }
  if (manifest.tensors.empty()) throw Error("a checkpoint needs a state").values("at least one tensor", "none");
  check_cover(manifest);
}

json manifest_body(const Manifest& manifest) {
  json body = info_json(manifest.info);
  body["format"] = kFormat;
  body["index"] = file_json(manifest.index);
  json& shards = body["shards"] = json::array();
  for (const SavedFile& shard : manifest.shards) shards.push_back(file_json(shard));
  json& tensors = body["tensors"] = json::array();
  for (const LogicalTensor& tensor : manifest.tensors) tensors.push_back(tensor_json(tensor));
  json& ranges = body["ranges"] = json::array();
  for (const Manifest::Range& r : manifest.ranges)
    ranges.push_back({r.shard, r.range.tensor, r.range.slice, r.range.begin, r.range.count});
  return body;
}

Manifest parse_body(const json& body, const std::string& place) {
  Manifest manifest;
  manifest.info = parse_info(body, place);
  manifest.index = parse_file(body.at("index"));
  for (const json& shard : body.at("shards")) manifest.shards.push_back(parse_file(shard));
  for (const json& tensor : body.at("tensors")) manifest.tensors.push_back(parse_tensor(tensor));
  for (const json& r : body.at("ranges")) {
    manifest.ranges.push_back({.shard = r.at(0).get<std::int64_t>(),
                               .range = {.tensor = r.at(1).get<std::int64_t>(),
                                         .slice = r.at(2).get<std::int64_t>(),
                                         .begin = r.at(3).get<std::int64_t>(),
                                         .count = r.at(4).get<std::int64_t>()}});
  }
  return manifest;
}

}  // namespace

std::string encode_shard_record(const ShardRecord& record) {
  json value = {{"file", file_json(record.file)},
                {"ranges", json::array()},
                {"tensors", json::array()},
                {"writer", record.writer}};
  for (const LogicalTensor& tensor : record.tensors) value["tensors"].push_back(tensor_json(tensor));
  for (const SavedRange& r : record.ranges) value["ranges"].push_back({r.tensor, r.slice, r.begin, r.count});
  return canonical_json(value);
}

ShardRecord decode_shard_record(std::string_view bytes) {
  const json value = parse_canonical_json(bytes, "a shard record");
  try {
    ShardRecord record{.writer = value.at("writer").get<std::int64_t>(),
                       .file = parse_file(value.at("file")),
                       .tensors = {},
                       .ranges = {}};
    for (const json& tensor : value.at("tensors")) record.tensors.push_back(parse_tensor(tensor));
    for (const json& r : value.at("ranges")) {
      record.ranges.push_back({.tensor = r.at(0).get<std::int64_t>(),
                               .slice = r.at(1).get<std::int64_t>(),
                               .begin = r.at(2).get<std::int64_t>(),
                               .count = r.at(3).get<std::int64_t>()});
    }
    return record;
  } catch (const json::exception& error) {
    throw Error("not a shard record").values("what encode_shard_record wrote", error.what());
  }
}

Manifest make_manifest(const CheckpointInfo& info, std::span<const ShardRecord> records) {
  Manifest manifest{
      .info = info, .index = {}, .shards = std::vector<SavedFile>(records.size()), .tensors = {}, .ranges = {}};
  std::map<std::string, LogicalTensor> tensors;
  for (const ShardRecord& record : records) {
    if (record.writer < 0 || record.writer >= static_cast<std::int64_t>(records.size())) {
      throw Error("the records of a checkpoint are not one of each writer")
          .values(fmt::format("writers 0..{}", records.size() - 1), fmt::format("writer {}", record.writer));
    }
    manifest.shards[at(record.writer)] = record.file;
    for (const LogicalTensor& tensor : record.tensors) {
      check_geometry(tensor);
      const auto [it, is_new] = tensors.emplace(tensor.name, tensor);
      if (!is_new && !same_geometry(it->second, tensor)) {
        throw Error("two writers disagree on a tensor")
            .values(describe_geometry(it->second), describe_geometry(tensor))
            .at(tensor.name);
      }
    }
  }
  std::map<std::string, std::int64_t> places;
  for (const auto& [name, tensor] : tensors) {
    places.emplace(name, static_cast<std::int64_t>(manifest.tensors.size()));
    manifest.tensors.push_back(tensor);
  }
  for (const ShardRecord& record : records) {
    for (SavedRange range : record.ranges) {
      range.tensor = places.at(record.tensors.at(at(range.tensor)).name);
      manifest.ranges.push_back({.shard = record.writer, .range = range});
    }
  }
  std::sort(manifest.ranges.begin(), manifest.ranges.end(), [](const Manifest::Range& a, const Manifest::Range& b) {
    return std::tie(a.range.tensor, a.range.slice, a.range.begin, a.shard) <
           std::tie(b.range.tensor, b.range.slice, b.range.begin, b.shard);
  });
  check_manifest(manifest);
  return manifest;
}

std::string encode_manifest(const Manifest& manifest) {
  const json body = manifest_body(manifest);
  return canonical_json({{"body", body}, {"sha256", to_hex(sha256(canonical_json(body)))}}) + "\n";
}

Manifest decode_manifest(std::string_view bytes, const std::string& place) {
  if (!bytes.ends_with('\n'))
    throw Error("the manifest is cut short")
        .values("a newline at its end", fmt::format("{} bytes without", bytes.size()))
        .at(place);
  const json value = parse_canonical_json(bytes.substr(0, bytes.size() - 1), place);
  try {
    const json& body = value.at("body");
    require_equal(value.at("sha256").get<std::string>(), to_hex(sha256(canonical_json(body))),
                  "the manifest is damaged (its own digest)", place);
    const auto format = body.at("format").get<std::string>();
    if (format != kFormat)
      throw Error("the checkpoint has another format").values(std::string(kFormat), format).at(place);
    Manifest manifest = parse_body(body, place);
    require_equal(std::string(kIndexFileName), manifest.index.name, "the index of a checkpoint has its name", place);
    check_manifest(manifest);
    if (encode_manifest(manifest) != bytes) throw Error("the manifest has members that do not belong to it").at(place);
    return manifest;
  } catch (const json::exception& error) {
    throw Error("not the manifest of a checkpoint").values("docs/formats/checkpoint.md", error.what()).at(place);
  }
}

std::string describe_geometry(const LogicalTensor& tensor) {
  std::string text = "fp32 [";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", tensor.shape[i]);
  text += "]";
  if (tensor.split != Split::kNone)
    text +=
        fmt::format(" split by {} into {} slices", kSplitNames[static_cast<std::size_t>(tensor.split)], tensor.slices);
  if (tensor.padded_rows != 0) text += fmt::format(", padded to {} rows", tensor.padded_rows);
  return text;
}

bool same_geometry(const LogicalTensor& a, const LogicalTensor& b) {
  return a.name == b.name && a.shape == b.shape && a.split == b.split && a.slices == b.slices &&
         a.padded_rows == b.padded_rows;
}

}  // namespace baekji
