#pragma once
// Writing tensors in the safetensors format, a piece at a time. There is no reader: nothing foreign comes into a run.

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/types.h"

namespace baekji {

struct SafetensorsTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  DType type = DType::kFloat32;  ///< kFloat32 or kBfloat16

  std::int64_t bytes() const;
};

/// One file: its tensors lie one behind the other, row-major, little-endian, in this order.
struct SafetensorsFile {
  std::string name;
  std::vector<SafetensorsTensor> tensors;

  std::int64_t data_bytes() const;
};

/// Divides tensors, in their order, among files of at most `most_bytes` of data; a tensor larger than that has a file
/// of its own. One file is "model.safetensors", of several file i is "model-0000i-of-0000n.safetensors".
std::vector<SafetensorsFile> plan_safetensors(std::span<const SafetensorsTensor> tensors, std::int64_t most_bytes);

/// What stands before the data: length, JSON header, and blanks up to a multiple of 8 bytes. Throws when a name comes
/// twice.
std::string safetensors_header(const SafetensorsFile& file, const std::map<std::string, std::string>& metadata);

/// model.safetensors.index.json for several files.
nlohmann::ordered_json safetensors_index(std::span<const SafetensorsFile> files);

/// Appends values as elements of `type`: fp32 as they are, bf16 rounded to nearest, ties to even.
void append_elements(std::string& bytes, std::span<const float> values, DType type);

}  // namespace baekji
