#include "base/thread_pool.h"

#include <algorithm>
#include <system_error>

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

bool has_items(uint64_t ticket) {
  return static_cast<uint32_t>(ticket) < static_cast<uint32_t>(ticket >> 32);
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

Result<void> ThreadPool::start() {
  try {
    for (int thread = static_cast<int>(threads_.size()) + 1; thread < n_threads_; ++thread) {
      threads_.emplace_back([this, thread] { work(thread); });
    }
  } catch (const std::system_error& error) {
    return usage_error("--threads {}: cannot start them: {}", n_threads_, error.what());
  }
  return {};
}

void ThreadPool::claim_items(int thread) {
  uint64_t ticket = ticket_.load(std::memory_order_relaxed);
  while (has_items(ticket)) {
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      continue;
    }
    call_(context_, static_cast<int>(static_cast<uint32_t>(ticket)), thread);
    n_done_.fetch_add(1, std::memory_order_release);
    ticket = ticket_.load(std::memory_order_relaxed);
  }
}

void ThreadPool::run_erased(int n_items, void* context, Call call) {
  if (n_items <= 0) return;
  if (n_threads_ == 1 || n_items == 1) {
    for (int item = 0; item < n_items; ++item) call(context, item, 0);
    return;
  }
  if (threads_.empty()) static_cast<void>(start());
  context_ = context;
  call_ = call;
  n_done_.store(0, std::memory_order_relaxed);
  ticket_.store(static_cast<uint64_t>(n_items) << 32);
  if (n_sleeping_.load() > 0) {
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  claim_items(0);
  for (int spins = 0; n_done_.load(std::memory_order_acquire) < n_items; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(int thread) {
  int spins = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (has_items(ticket_.load(std::memory_order_relaxed))) {
      claim_items(thread);
      spins = 0;
    } else if (++spins < kSpins) {
      pause();
    } else {
      std::unique_lock lock(mutex_);
      n_sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return has_items(ticket_.load()) || stop_.load(); });
      n_sleeping_.fetch_sub(1);
      spins = 0;
    }
  }
}

}  // namespace varve
