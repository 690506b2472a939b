#pragma once
// A run directory in the temporary folder with checkpoints of a small state.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "checkpoint/checkpoint_store.h"
#include "core/error.h"
#include "proof/state_root.h"
#include "tests/proof/state_fixture.h"

namespace baekji {

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* const info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        std::filesystem::path(testing::TempDir()) / fmt::format("run_{}_{}", info->test_suite_name(), info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static CheckpointInfo info_of(const SampleState& state, std::int64_t step, std::int64_t grains) {
    ThreadPool pool(1);
    return {.step = step,
            .updates = step,
            .position = step * 16,
            .tokens = step * 4096,
            .tensor_grains = grains,
            .contract = sha256("contract"),
            .state_root = state_root(state.shards(), pool),
            .kernel_set = cpu_kernel_set({{"onednn", "2.6.3"}})};
  }
  static CheckpointInfo save(CheckpointStore& store, SampleState& state, std::int64_t step, std::int64_t grains) {
    state.fill(step);
    const CheckpointInfo info = info_of(state, step, grains);
    store.save(info, state.shards());
    return info;
  }
  static bool holds(const SampleState& state, std::int64_t salt) {
    for (const StateShard& s : state.shards()) {
      for (std::size_t kind = 0; kind < 3; ++kind) {
        for (std::int64_t i = 0; i < s.count; ++i) {
          const std::int64_t logical = s.tensor->logical_index(s.slice, s.begin + i);
          if (s.values[kind][i] != (logical < 0 ? 0.0F : SampleState::value_at(logical, kind, salt))) return false;
        }
      }
    }
    return true;
  }
  std::filesystem::path checkpoints() const { return folder_ / "checkpoints"; }

  std::filesystem::path folder_;
};

/// The text of the Error that `action` throws; a failure when it throws none.
template <class Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

}  // namespace baekji
