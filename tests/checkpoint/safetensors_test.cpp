#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::json;

const std::vector<SafetensorsTensor> kThree{{.name = "a", .shape = {2, 3}, .type = DType::kFloat32},
                                            {.name = "b", .shape = {5}, .type = DType::kBfloat16},
                                            {.name = "c", .shape = {4, 4}, .type = DType::kFloat32}};

struct Header {
  std::uint64_t size = 0;
  json value;
};
Header parse_header(const std::string& bytes) {
  Header header;
  for (std::size_t i = 0; i < 8; ++i)
    header.size |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  header.value = json::parse(bytes.substr(8));
  return header;
}

TEST(SafetensorsTest, HeaderGivesOffsetsWithoutGapsAndDataBeginsAtAMultipleOfEight) {
  for (const std::string name : {"a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"}) {
    SafetensorsFile file{.name = "f", .tensors = kThree};
    file.tensors[0].name = "x" + name;
    const std::string bytes = safetensors_header(file, {{"format", "pt"}});
    const Header header = parse_header(bytes);
    EXPECT_EQ(bytes.size() % 8, 0U);
    EXPECT_EQ(header.size, bytes.size() - 8);
    EXPECT_EQ(bytes[8], '{');  // the format wants no blank in front
    EXPECT_EQ(header.value.at("__metadata__"), (json{{"format", "pt"}}));
    EXPECT_EQ(header.value.at("x" + name), (json{{"dtype", "F32"}, {"shape", {2, 3}}, {"data_offsets", {0, 24}}}));
    EXPECT_EQ(header.value.at("b"), (json{{"dtype", "BF16"}, {"shape", {5}}, {"data_offsets", {24, 34}}}));
    EXPECT_EQ(header.value.at("c"), (json{{"dtype", "F32"}, {"shape", {4, 4}}, {"data_offsets", {34, 98}}}));
    EXPECT_EQ(file.data_bytes(), 98);
  }
}

TEST(SafetensorsTest, NamesComeOnceAndTypesAreFloatingPoint) {
  SafetensorsFile file{.name = "f", .tensors = kThree};
  file.tensors[2].name = "a";
  EXPECT_THROW(safetensors_header(file, {}), Error);
  file.tensors[2] = {.name = "d", .shape = {1}, .type = DType::kInt32};
  EXPECT_THROW(safetensors_header(file, {}), Error);
}

TEST(SafetensorsTest, FilesHoldWhatFitsAndALargerTensorStandsAlone) {
  const auto sizes = [](std::int64_t most) {
    std::vector<std::size_t> counts;
    for (const SafetensorsFile& file : plan_safetensors(kThree, most)) counts.push_back(file.tensors.size());
    return counts;
  };
  EXPECT_EQ(sizes(98), (std::vector<std::size_t>{3}));
  EXPECT_EQ(sizes(97), (std::vector<std::size_t>{2, 1}));
  EXPECT_EQ(sizes(74), (std::vector<std::size_t>{2, 1}));
  EXPECT_EQ(sizes(1), (std::vector<std::size_t>{1, 1, 1}));
  EXPECT_EQ(plan_safetensors(kThree, 98)[0].name, "model.safetensors");
  EXPECT_EQ(plan_safetensors(kThree, 97)[1].name, "model-00002-of-00002.safetensors");
}

TEST(SafetensorsTest, IndexSaysWhereEachTensorLies) {
  const json index = safetensors_index(plan_safetensors(kThree, 40));
  EXPECT_EQ(index.at("metadata").at("total_size"), 98);
  EXPECT_EQ(index.at("weight_map"), (json{{"a", "model-00001-of-00002.safetensors"},
                                          {"b", "model-00001-of-00002.safetensors"},
                                          {"c", "model-00002-of-00002.safetensors"}}));
}

TEST(SafetensorsTest, ElementsAreLittleEndianAndRoundToEven) {
  const float values[] = {1.0F, -2.0F, 1.00390625F, 1.01171875F};  // the last two lie half-way between bf16 numbers
  std::string fp32;
  append_elements(fp32, std::span(values).first(2), DType::kFloat32);
  EXPECT_EQ(fp32, std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8));
  std::string bf16;
  append_elements(bf16, values, DType::kBfloat16);
  EXPECT_EQ(bf16, std::string("\x80\x3f\x00\xc0\x80\x3f\x82\x3f", 8));
}

}  // namespace
}  // namespace baekji
