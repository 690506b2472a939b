// The document mask that cuDNN is given, which nothing else runs where there is no cuDNN.

#include "kernels/cuda/document_bias.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/device_cuda.h"

namespace baekji::cuda {
namespace {

TEST(StandInDocumentBias, HidesTheKeysBeforeEachQuerysFirst) {
  Queue queue(select_cuda_device(0));
  const Device device = queue.device();
  constexpr std::int64_t kSequences = 2;
  constexpr std::int64_t kTokens = 300;
  std::vector<std::int32_t> first;
  for (std::int64_t b = 0; b < kSequences; ++b) {
    for (std::int64_t t = 0; t < kTokens; ++t) first.push_back(static_cast<std::int32_t>(t / (40 + b) * (40 + b)));
  }
  constexpr std::int64_t kFirstBytes = kSequences * kTokens * 4;
  constexpr std::int64_t kBiasBytes = kSequences * kTokens * kTokens * 2;
  void* const there = allocate_memory(device, kFirstBytes);
  void* const bias = allocate_memory(device, kBiasBytes);
  queue.upload(first.data(), there, kFirstBytes);
  write_document_bias(Tensor(there, DType::kInt32, {kSequences, kTokens}, device), static_cast<Bfloat16*>(bias), queue);
  std::vector<Bfloat16> got(kBiasBytes / 2);
  queue.download(bias, got.data(), kBiasBytes);
  for (std::int64_t row = 0; row < kSequences * kTokens; ++row) {
    for (std::int64_t key = 0; key < kTokens; ++key) {
      const auto value = static_cast<float>(got[static_cast<std::size_t>(row * kTokens + key)]);
      if (key < first[static_cast<std::size_t>(row)])
        ASSERT_LT(value, -0.9e30F) << row << " " << key;
      else
        ASSERT_EQ(value, 0.0F) << row << " " << key;
    }
  }
  free_memory(device, there, kFirstBytes);
  free_memory(device, bias, kBiasBytes);
}

}  // namespace
}  // namespace baekji::cuda
