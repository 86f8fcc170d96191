#include "base/thread_pool.h"

#include <algorithm>

namespace varve {
namespace {

// How often a thread looks before it sleeps. The gaps between the loops of one decode step are a
// few microseconds; 20,000 pauses are some hundred, so a step never pays for a wake-up, and an
// idle team is asleep well within a millisecond.
constexpr int kSpins = 20000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) : n_threads_(std::max(1, n_threads)) {}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::claim_items(int thread) {
  for (int item = next_item_.fetch_add(1, std::memory_order_relaxed); item < n_items_;
       item = next_item_.fetch_add(1, std::memory_order_relaxed)) {
    call_(context_, item, thread);
  }
}

void ThreadPool::run_erased(int n_items, void* context, Call call) {
  if (n_items <= 0) return;
  context_ = context;
  call_ = call;
  n_items_ = n_items;
  next_item_.store(0, std::memory_order_relaxed);
  if (n_threads_ == 1 || n_items == 1) {
    claim_items(0);
    return;
  }
  for (int thread = static_cast<int>(threads_.size()) + 1; thread < n_threads_; ++thread) {
    threads_.emplace_back([this, thread] { work(thread); });
  }
  n_working_.store(n_threads_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1);
  if (n_sleeping_.load() > 0) {
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  claim_items(0);
  for (int spins = 0; n_working_.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(int thread) {
  unsigned seen = 0;
  while (true) {
    int spins = 0;
    while (generation_.load(std::memory_order_acquire) == seen && !stop_.load()) {
      if (++spins < kSpins) {
        pause();
        continue;
      }
      std::unique_lock lock(mutex_);
      n_sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen || stop_.load(); });
      n_sleeping_.fetch_sub(1);
    }
    if (stop_.load()) return;
    seen = generation_.load(std::memory_order_acquire);
    claim_items(thread);
    n_working_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace varve
