#include "base/cpu.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>

namespace varve {
namespace {

class Topology : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) / "varve_cpu_test";
    std::filesystem::remove_all(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void add(int cpu, int package, int core) {
    const auto topology = directory_ / ("cpu" + std::to_string(cpu)) / "topology";
    std::filesystem::create_directories(topology);
    std::ofstream(topology / "physical_package_id") << package << "\n";
    std::ofstream(topology / "core_id") << core << "\n";
  }
  int count(std::span<const int> logical) const {
    return count_physical_cores(directory_.string(), logical);
  }

  std::filesystem::path directory_;
};

TEST_F(Topology, HyperthreadsShareACore) {
  // Two packages of two cores of two threads each; ids of cores repeat from package to package.
  for (int cpu = 0; cpu < 8; ++cpu) add(cpu, cpu / 2 % 2, cpu % 2);
  EXPECT_EQ(count(std::array{0, 1, 2, 3, 4, 5, 6, 7}), 4);
  EXPECT_EQ(count(std::array{0, 4}), 1);
  EXPECT_EQ(count(std::array{0, 2, 6}), 2);
}

TEST_F(Topology, CoresOfUnknownPlaceCountEach) {
  add(0, 0, 0);
  EXPECT_EQ(count(std::array{0, 1, 2}), 3);
  EXPECT_EQ(count({}), 0);
}

TEST(Cpu, PhysicalCoresAreSomeOfTheUsableOnes) {
  EXPECT_GE(usable_physical_cores(), 1);
  EXPECT_LE(usable_physical_cores(), usable_cores());
}

}  // namespace
}  // namespace varve
