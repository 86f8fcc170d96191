#include "base/contention.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

namespace varve {
namespace {

// Threads that all run on one core take it from each other.
TEST(Contention, ThreadsThatShareACoreWaitForIt) {
  if (!std::filesystem::exists("/proc/self/schedstat")) GTEST_SKIP() << "no schedstat here";
  constexpr int kThreads = 4;
  std::atomic<int> n_ready = 0;
  std::atomic<bool> stop = false;
  const auto spin = [&] {
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    size_t first = 0;
    while (!CPU_ISSET(first, &all)) ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    sched_setaffinity(0, sizeof one, &one);
    ++n_ready;
    while (!stop) {
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(spin);
  while (n_ready < kThreads) std::this_thread::yield();
  const Contention contention;
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  const double share = contention.waited_share();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(share, 0.5);  // 3 / 4, were this thread and the machine at rest
  EXPECT_LE(share, 1.0);
}

}  // namespace
}  // namespace varve
