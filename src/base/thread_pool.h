// A fixed team of threads that runs one data-parallel loop at a time.
//
// Work items are claimed one by one, and a loop ends when its items are done, not when every thread
// has shown up: a machine that is busy with other things costs what it takes away and no more.
// Which thread runs an item is not defined and must not matter: an item writes its own outputs and
// nothing else (law 1). Nothing is allocated once the team stands.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace varve {

class ThreadPool {
 public:
  /// A team of `n_threads` >= 1, the caller of run() included. The others start with the first
  /// loop: a pool that only plans costs nothing.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }

  /// Starts the threads now rather than with the first loop, which goes on with as many as it gets.
  /// Error (usage): the machine has no more of them.
  Result<void> start();

  /// Calls body(item, thread) for every item in [0, n_items), thread in [0, n_threads), and returns
  /// when all are done. One loop at a time, never from inside a body. `body` must not throw.
  template <class Body>
  void run(int n_items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_erased(
        n_items, const_cast<void*>(static_cast<const void*>(std::addressof(body))),
        [](void* context, int item, int thread) { (*static_cast<Plain*>(context))(item, thread); });
  }

 private:
  using Call = void (*)(void* context, int item, int thread);

  void run_erased(int n_items, void* context, Call call);
  void work(int thread);
  void claim_items(int thread);

  const int n_threads_;
  std::vector<std::thread> threads_;

  // The loop under way: n_items in the upper half, the next item to claim in the lower. While an
  // item is unclaimed or unfinished the loop cannot end, so whoever has claimed one may read
  // context_ and call_.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  void* context_ = nullptr;
  Call call_ = nullptr;
  alignas(64) std::atomic<int> n_done_{0};
  alignas(64) std::atomic<int> n_sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace varve
