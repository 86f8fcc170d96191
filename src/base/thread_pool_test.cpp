#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace varve {
namespace {

TEST(ThreadPool, EveryItemRunsOnce) {
  for (int n_threads : {1, 2, 5}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.n_threads(), n_threads);
    for (int n_items : {0, 1, 2, 7, 1000}) {
      std::vector<int> hits(static_cast<size_t>(n_items), 0);
      pool.run(n_items, [&](int item, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, n_threads);
        ++hits[static_cast<size_t>(item)];
      });
      for (int hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(ThreadPool, WakesAfterSleeping) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  for (int round = 0; round < 20; ++round) {
    pool.run(10, [&](int item, int) { sum += item; });
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(sum.load(), 20 * 45);
}

TEST(ThreadPool, ManyShortLoops) {
  ThreadPool pool(2);
  std::vector<int> values(64, 0);
  for (int round = 0; round < 20000; ++round) {
    pool.run(64, [&](int item, int) { ++values[static_cast<size_t>(item)]; });
  }
  for (int value : values) EXPECT_EQ(value, 20000);
}

}  // namespace
}  // namespace varve
