// The program of the kernel cases: gtest_main, and every case is skipped where the device that it is about is not
// there.

#include <gmock/gmock.h>

#include "tests/kernels/device_under_test.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  ::testing::AddGlobalTestEnvironment(std::make_unique<baekji::DeviceOrNone>().release());
  return RUN_ALL_TESTS();
}
