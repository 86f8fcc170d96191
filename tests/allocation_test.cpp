// A decode step allocates nothing: every operator new of the process is counted.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/sampler.h"
#include "support/golden.h"
#include "support/reference_run.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<long> n_allocations{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) ++n_allocations;
  void* at = alignment <= alignof(std::max_align_t)
                 ? std::malloc(bytes)
                 : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (at == nullptr) std::abort();  // a test has no use for bad_alloc
  return at;
}

}  // namespace

void* operator new(std::size_t n) {
  return allocate(n, 1);
}
void* operator new[](std::size_t n) {
  return allocate(n, 1);
}
void* operator new(std::size_t n, std::align_val_t a) {
  return allocate(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return allocate(n, static_cast<std::size_t>(a));
}
void operator delete(void* at) noexcept {
  std::free(at);
}
void operator delete[](void* at) noexcept {
  std::free(at);
}
void operator delete(void* at, std::size_t) noexcept {
  std::free(at);
}
void operator delete[](void* at, std::size_t) noexcept {
  std::free(at);
}
void operator delete(void* at, std::align_val_t) noexcept {
  std::free(at);
}
void operator delete[](void* at, std::align_val_t) noexcept {
  std::free(at);
}
void operator delete(void* at, std::size_t, std::align_val_t) noexcept {
  std::free(at);
}
void operator delete[](void* at, std::size_t, std::align_val_t) noexcept {
  std::free(at);
}

namespace varve {
namespace {

TEST(Allocation, TheHookCounts) {
  counting = true;
  n_allocations = 0;
  delete new int(1);
  counting = false;
  EXPECT_EQ(n_allocations.load(), 1);
}

TEST(Allocation, DecodeStepsAllocateNothing) {
  for (const Kernels* kernels : available_kernels()) {
    for (Products products : {Products::f32, Products::bf16}) {
      for (const char* name : {"v4-micro", "v4-flash-mini", "v4-pro-mini"}) {
        if (kernels->name == "ref" && std::string(name) != "v4-micro") continue;  // slow
        const auto model = testing_support::load_or_fail(testing_support::golden_dir(name));
        const auto engine = testing_support::engine_or_fail(model, {.ctx_tokens = 600,
                                                                    .n_threads = 2,
                                                                    .kernels = kernels,
                                                                    .products = products,
                                                                    .resume_interval_tokens = 128});
        Session session = testing_support::session_or_fail(*engine);
        const std::vector<int32_t> prompt(100, 5);
        ASSERT_TRUE(session.append(prompt));
        Sampler sampler =
            Sampler::create({.temperature = 0.8f, .top_k = 20}, model->vocab_size()).value();
        const auto n_words = static_cast<size_t>(model->vocab_size() + 31) / 32;
        const std::vector<uint32_t> every_third(n_words, 0x49249249);
        // The first step may still grow what was sized for nothing.
        int32_t id = sampler.sample(session.logits());
        ASSERT_TRUE(session.append({&id, 1}));
        // Over block ends, closed entries, resume points and picks that leave entries out.
        counting = true;
        n_allocations = 0;
        for (int i = 0; i < 200; ++i) {
          id = i % 2 == 0 ? sampler.sample(session.logits())
                          : sampler.sample(session.logits(), every_third);
          if (!session.append({&id, 1})) break;
        }
        counting = false;
        EXPECT_EQ(session.n_tokens(), 301);
        EXPECT_EQ(n_allocations.load(), 0) << name << ", " << kernels->name;
      }
    }
  }
}

}  // namespace
}  // namespace varve
