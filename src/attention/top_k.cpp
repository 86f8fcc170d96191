#include "attention/top_k.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <functional>

namespace varve {
namespace {

constexpr int kRun = 16;  // scores that one branch passes over

// Integers in the order of the floats.
int32_t order(float value) {
  const auto bits = std::bit_cast<int32_t>(value + 0.0f);  // -0 becomes +0: they are equal scores
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

uint64_t candidate(int32_t order, int index) {
  const uint32_t upper = static_cast<uint32_t>(order) ^ 0x80000000u;
  return uint64_t{upper} << 32 | ~static_cast<uint32_t>(index);
}

}  // namespace

void TopK::start(int k, uint64_t* room) {
  assert(k >= 1);
  k_ = static_cast<size_t>(k);
  candidates_ = room;
  n_ = 0;
  bounded_ = false;
}

void TopK::push(uint64_t candidate) {
  if (n_ == room(static_cast<int>(k_))) shrink();
  candidates_[n_++] = candidate;
}

void TopK::shrink() {
  if (n_ <= k_) return;
  uint64_t* const last = candidates_ + (k_ - 1);
  std::nth_element(candidates_, last, candidates_ + n_, std::greater<>());
  n_ = k_;
  threshold_ = static_cast<int32_t>(static_cast<uint32_t>(*last >> 32) ^ 0x80000000u);
  bounded_ = true;
}

void TopK::add(const float* scores, int n, int first) {
  int i = 0;
  const auto add_one = [&](int at) {
    const int32_t o = order(scores[at]);
    // A later index loses a tie.
    if (!bounded_ || o > threshold_) push(candidate(o, first + at));
  };
  for (; i + kRun <= n; i += kRun) {
    if (bounded_) {
      int n_above = 0;
      for (int j = 0; j < kRun; ++j) n_above += order(scores[i + j]) > threshold_ ? 1 : 0;
      if (n_above == 0) continue;
    }
    for (int j = 0; j < kRun; ++j) add_one(i + j);
  }
  for (; i < n; ++i) add_one(i);
}

void TopK::merge(const TopK& other) {
  for (size_t i = 0; i < other.n_; ++i) push(other.candidates_[i]);
}

int TopK::finish(int32_t* picks) {
  shrink();
  for (size_t i = 0; i < n_; ++i) {
    picks[i] = static_cast<int32_t>(~static_cast<uint32_t>(candidates_[i]));
  }
  std::sort(picks, picks + n_);
  return static_cast<int>(n_);
}

}  // namespace varve
