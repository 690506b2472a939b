#include "checkpoint/safetensors.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "core/digest.h"
#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kAlignment = 8;

const char* element_name(const SafetensorsTensor& tensor) {
  switch (tensor.type) {
    case DType::kFloat32:
      return "F32";
    case DType::kBfloat16:
      return "BF16";
    default:
      throw Error("no such element type in an export")
          .values("fp32 or bf16", std::string(name_of(tensor.type)))
          .at(tensor.name);
  }
}

}  // namespace

std::int64_t SafetensorsTensor::bytes() const {
  std::int64_t count = size_of(type);
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::int64_t SafetensorsFile::data_bytes() const {
  std::int64_t sum = 0;
  for (const SafetensorsTensor& tensor : tensors) sum += tensor.bytes();
  return sum;
}

std::vector<SafetensorsFile> plan_safetensors(std::span<const SafetensorsTensor> tensors, std::int64_t most_bytes) {
  std::vector<SafetensorsFile> files(1);
  std::int64_t taken = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (!files.back().tensors.empty() && taken + tensor.bytes() > most_bytes) {
      files.emplace_back();
      taken = 0;
    }
    files.back().tensors.push_back(tensor);
    taken += tensor.bytes();
  }
  for (std::size_t i = 0; i < files.size(); ++i) {
    files[i].name =
        files.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
  }
  return files;
}

std::string safetensors_header(const SafetensorsFile& file, const std::map<std::string, std::string>& metadata) {
  ordered_json header = ordered_json::object();
  header["__metadata__"] = metadata;
  std::int64_t begin = 0;
  for (const SafetensorsTensor& tensor : file.tensors) {
    if (header.contains(tensor.name))
      throw Error("a tensor comes twice in a file").values("one name each", tensor.name).at(file.name);
    const std::int64_t end = begin + tensor.bytes();
    header[tensor.name] = {{"dtype", element_name(tensor)}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump();
  while (text.size() % kAlignment != 0) text.push_back(' ');
  std::string bytes;
  append_little_endian(bytes, static_cast<std::uint64_t>(text.size()));
  return bytes + text;
}

ordered_json safetensors_index(std::span<const SafetensorsFile> files) {
  std::int64_t total = 0;
  std::map<std::string, std::string> places;
  for (const SafetensorsFile& file : files) {
    total += file.data_bytes();
    for (const SafetensorsTensor& tensor : file.tensors) places[tensor.name] = file.name;
  }
  return {{"metadata", {{"total_size", total}}}, {"weight_map", places}};
}

void append_elements(std::string& bytes, std::span<const float> values, DType type) {
  for (const float value : values) {
    if (type == DType::kBfloat16)
      append_little_endian(bytes, Bfloat16(value).bits);
    else
      append_little_endian(bytes, std::bit_cast<std::uint32_t>(value));
  }
}

}  // namespace baekji
