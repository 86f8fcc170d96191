#include "plan/matrix_times.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace varve {
namespace {

using Clock = std::chrono::steady_clock;

// A byte that makes moderate numbers in every type, scales too.
constexpr int kFill = 0x3a;

// Of one matrix: the least it is measured for, and what is measured of a large one.
constexpr double kSeconds = 0.004;
constexpr int kLeastRuns = 4;
constexpr size_t kMostSlice = size_t{64} << 20;

size_t scale_bytes(const Weight& w) {
  if (w.scales == nullptr) return 0;
  const int n = (w.first_row + w.n_rows + w.scale_rows - 1) / w.scale_rows;
  return static_cast<size_t>(n) * w.scale_row_bytes;
}

}  // namespace

MatrixTimer::MatrixTimer(Arena memory, const Kernels& kernels, ThreadPool& pool, Products products)
    : memory_(std::move(memory)), kernels_(&kernels), pool_(&pool), products_(products) {}

Result<MatrixTimer> MatrixTimer::create(const Kernels& kernels, ThreadPool& pool,
                                        Products products) {
  VARVE_TRY(Arena memory, Arena::create(kBytes));
  std::memset(memory.data(), kFill, kBytes);
  return MatrixTimer(std::move(memory), kernels, pool, products);
}

Result<double> MatrixTimer::seconds_of(const Weight& shape, int n_tokens) {
  Weight slice = shape;
  slice.first_row = 0;
  const size_t most_rows = std::max<size_t>(1, kMostSlice / std::max<size_t>(1, shape.row_bytes));
  slice.n_rows = static_cast<int>(std::min(static_cast<size_t>(shape.n_rows), most_rows));
  const size_t data_bytes = static_cast<size_t>(slice.n_rows) * slice.row_bytes;
  const size_t bytes = (data_bytes + scale_bytes(slice) + 63) / 64 * 64;
  if (bytes > kBytes) {
    return fail(ErrorKind::internal, "a slice of {} bytes of a matrix is larger than {}", bytes,
                kBytes);
  }

  Exec exec(*kernels_, *pool_, products_);
  const size_t n_in = static_cast<size_t>(n_tokens) * static_cast<size_t>(slice.n_cols);
  const size_t n_out = static_cast<size_t>(n_tokens) * static_cast<size_t>(slice.n_rows);
  float* x = nullptr;
  float* y = nullptr;
  const auto lay_out = [&](ArenaBuilder& arena) {
    exec.lay_out(arena, n_in);
    x = arena.take<float>("inputs", n_in);
    y = arena.take<float>("outputs", n_out);
  };
  ArenaBuilder dry;
  lay_out(dry);
  VARVE_TRY(const Arena scratch, Arena::create(dry.bytes()));
  ArenaBuilder wet(scratch.data());
  lay_out(wet);
  std::fill_n(x, n_in, 0.5f);

  std::vector<double> seconds;
  double total = 0;
  while (total < kSeconds || std::ssize(seconds) < kLeastRuns) {
    if (at_ + bytes > kBytes) at_ = 0;
    slice.data = memory_.data() + at_;
    if (slice.scales != nullptr) slice.scales = slice.data + data_bytes;
    at_ += bytes;
    const auto begin = Clock::now();
    exec.linear(slice, x, n_tokens, y);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    total += seconds.back();
  }
  // Near the best: what else the machine does meanwhile is no part of it.
  const auto at = seconds.begin() + std::ssize(seconds) / 4;
  std::nth_element(seconds.begin(), at, seconds.end());
  return *at * shape.n_rows / slice.n_rows;
}

Result<double> MatrixTimer::step_seconds(const Model& model, int n_tokens) {
  using Key = std::tuple<DType, DType, int, int, int>;  // types, rows, columns, tokens
  std::map<Key, double> known;
  const Weight* last = nullptr;  // the head
  model.visit_weights([&](const Weight& w, double) { last = &w; });
  double total = 0;
  Result<void> done;
  model.visit_weights([&](const Weight& w, double share) {
    if (!done) return;
    // Of an expert: how likely some token needs it, and how many do then.
    const double needed = 1 - std::pow(1 - share, n_tokens);
    const int n =
        &w == last ? 1 : std::max(1, static_cast<int>(std::lround(n_tokens * share / needed)));
    const auto [at, is_new] = known.try_emplace({w.type, w.scale_type, w.n_rows, w.n_cols, n}, 0.0);
    if (is_new) {
      const Result<double> seconds = seconds_of(w, n);
      if (!seconds) {
        done = tl::unexpected<Error>(seconds.error());
        return;
      }
      at->second = *seconds;
    }
    total += needed * at->second;
  });
  VARVE_CHECKED(done);
  return total;
}

}  // namespace varve
