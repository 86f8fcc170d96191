#include "plan/calibration.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "attention/indexer.h"
#include "base/contention.h"
#include "base/memory.h"
#include "base/rng.h"
#include "engine/speed.h"
#include "plan/comparison.h"
#include "plan/matrix_times.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace varve {
namespace {

// Rows of the deeper of the two depths: beyond caches, and filled in a moment.
constexpr double kRowBytes = 64 << 20;
constexpr int kLeastDepth = 1 << 10, kMostDepth = 64 << 10;
constexpr int kDepthRatio = 4;  // between the two

// Of steps, at each depth; the lower quartile counts.
constexpr int kLeastSteps = 2, kMostSteps = 12;
constexpr double kStepSeconds = 0.3;

// Tokens of a chunk whose rows are measured: as many as do not take long by their matrices.
constexpr int kLeastChunk = 8, kMostChunk = 32;
constexpr double kChunkMacs = 4e10, kMostChunkMacs = 2e11;
// Matrices of a chunk are measured with as many tokens as it has, up to these.
constexpr int kMostMatrixTokens = 256;

// Left free beside what is measured in: inputs and outputs of matrices, what the heap takes, the
// kernel's tables of pages.
constexpr size_t kSpareBytes = size_t{32} << 20;

// Denormal numbers count as zeros in this thread and in those that it starts, until the end: zeros
// for weights have scales that are denormal, and products of those take many times longer.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() { _mm_setcsr(saved_ | kFlush); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static constexpr unsigned kFlush = 0x8040;  // results and inputs
  unsigned saved_ = _mm_getcsr();
#endif
};

struct RowTimes {
  double attention = 0, index = 0, other = 0;  // seconds
  double attention_macs = 0, index_macs = 0;
};

bool is_index(const PartCost& cost) {
  return cost.part == "index keys";
}

// What the rows of `costs` multiply, attention's and the indexer's.
void add_macs(const std::vector<PartCost>& costs, int n_tokens, RowTimes& to) {
  for (const PartCost& cost : costs) {
    if (cost.part == "weights") continue;
    (is_index(cost) ? to.index_macs : to.attention_macs) += cost.macs * n_tokens;
  }
}

// Seconds of all layers' indexers for the newest n_tokens of a sequence, without the matrices
// before them, which are measured as such.
Result<double> index_seconds(Engine& engine, const Sequence& sequence, int n_tokens) {
  const std::vector<LayerAttention> layers =
      own_attention(engine.model(), engine.options().formats).layers;
  const auto indexed = [](const LayerAttention& layer) { return layer.index_n_heads > 0; };
  const auto first = std::find_if(layers.begin(), layers.end(), indexed);
  if (first == layers.end()) return 0.0;
  const LayerAttention& shape = *first;

  Indexer indexer;
  const auto lay_out = [&](ArenaBuilder& arena) {
    indexer.lay_out(arena, engine.n_threads(), shape.topk, n_tokens, shape.index_n_heads,
                    shape.index_dim, engine.options().formats.index);
  };
  ArenaBuilder dry;
  lay_out(dry);
  VARVE_TRY(const Arena scratch, Arena::create(dry.bytes()));
  ArenaBuilder wet(scratch.data());
  lay_out(wet);

  Rng rng(1);
  const auto n = static_cast<size_t>(n_tokens), heads = static_cast<size_t>(shape.index_n_heads);
  std::vector<float> queries(n * heads * static_cast<size_t>(shape.index_dim)), weights(n * heads);
  for (float& q : queries) q = rng.normal();
  for (float& w : weights) w = rng.normal();
  std::vector<int32_t> picks(n * static_cast<size_t>(shape.topk)), counts(n);
  const Segment segment{&const_cast<Sequence&>(sequence), 0, n_tokens,
                        sequence.n_tokens() - n_tokens};
  std::vector<double> seconds;
  for (int run = 0; run < kMostSteps; ++run) {
    std::vector<float> q = queries;  // scratch of pick()
    const auto begin = std::chrono::steady_clock::now();
    indexer.pick(engine.exec(),
                 {q.data(), weights.data(), shape.index_n_heads, shape.index_dim,
                  std::max(1, shape.ratio), shape.topk},
                 segment, static_cast<int>(first - layers.begin()), picks.data(), counts.data());
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return lower_quartile(std::move(seconds)) *
         static_cast<double>(std::count_if(layers.begin(), layers.end(), indexed));
}

// Steps of n_tokens each at about that depth: at least two after one that warms up, as many as fit
// into kStepSeconds, at most kMostSteps.
Result<RowTimes> measure_rows(Engine& engine, int depth, int n_tokens) {
  VARVE_TRY(Session session, engine.new_session());
  VARVE_CHECKED(session.fill_seeded(depth, 1));
  const std::vector<int32_t> ids(static_cast<size_t>(n_tokens), 0);
  std::vector<double> attention, other;
  double total = 0;
  for (int i = -1; i < kLeastSteps || (i < kMostSteps && total < kStepSeconds); ++i) {
    const PartTimes before = engine.times();
    const auto begin = std::chrono::steady_clock::now();
    VARVE_CHECKED(session.append(ids));
    total += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i < 0) continue;
    const auto spent = [&](Part part) {
      return engine.times().seconds[static_cast<int>(part)] -
             before.seconds[static_cast<int>(part)];
    };
    attention.push_back(spent(Part::attention));
    other.push_back(spent(Part::compress) + spent(Part::hyper_connections) + spent(Part::embed));
  }
  RowTimes out{lower_quartile(attention), 0, lower_quartile(other), 0, 0};
  add_macs(
      engine.model().prefill_costs(engine.options().formats, depth + n_tokens, n_tokens, n_tokens),
      n_tokens, out);
  if (out.index_macs > 0) {
    VARVE_TRY(out.index, index_seconds(engine, session.sequence(), n_tokens));
  }
  return out;
}

// A line through two depths; or, where `same` tells what it is at none, through that and the deeper
// one.
Result<void> measure_lines(Engine& engine, int depth, const StepTimes* same, StepTimes& to) {
  VARVE_TRY(const RowTimes far, measure_rows(engine, depth, to.n_tokens));
  RowTimes near;
  if (same != nullptr) {
    near.attention = same->attention.fixed;
    near.index = same->index.fixed;
  } else {
    VARVE_TRY(near, measure_rows(engine, std::max(1, depth / kDepthRatio), to.n_tokens));
  }
  to.attention =
      Line::through(near.attention_macs, near.attention, far.attention_macs, far.attention);
  to.index = Line::through(near.index_macs, near.index, far.index_macs, far.index);
  to.other = far.other;
  return {};
}

}  // namespace

Line Line::through(double macs1, double seconds1, double macs2, double seconds2) {
  if (macs2 <= macs1 || seconds2 <= seconds1) return {(seconds1 + seconds2) / 2, 0};
  const double slope = (seconds2 - seconds1) / (macs2 - macs1);
  const double fixed = seconds1 - slope * macs1;
  return fixed >= 0 ? Line{fixed, slope} : Line{0, seconds2 / macs2};
}

namespace {

// What is measured first, and what rows are measured in.
struct Rooms {
  EngineOptions rows;
  size_t bytes = 0;  // the larger one
};

// Before anything is touched: a run that is killed says nothing.
Result<void> check_room(const Rooms& rooms) {
  const size_t needed = rooms.bytes + kSpareBytes;
  const auto text = [](size_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  if (const size_t free = available_memory_bytes(); needed > free) {
    return usage_error("calibrating takes {} of memory, and {} are free", text(needed), text(free));
  }
  const size_t stacks = static_cast<size_t>(rooms.rows.n_threads - 1) * thread_stack_bytes();
  if (const size_t free = address_space_left_bytes(); needed + stacks > free) {
    return usage_error("calibrating takes {} of address space, and {} are left",
                       text(needed + stacks), text(free));
  }
  return {};
}

// The engine whose rows are measured: at `depth` tokens there are as many steps as are measured.
Result<Rooms> rooms_of(const Model& shapes, EngineOptions options, int depth, int chunk,
                       bool measures_matrices) {
  options.ctx_tokens = std::min(depth + (kMostSteps + 1) * chunk, shapes.max_position());
  options.n_sessions = 1;
  options.chunk_tokens = chunk;
  options.resume_points = 0;
  options.resume_interval_tokens = std::numeric_limits<int>::max();
  options.arena_budget_bytes = 0;
  VARVE_TRY(const MemoryPlan plan, Engine::plan(shapes, options));
  const size_t matrices =
      measures_matrices ? std::max(ReadRoof::kBytes, MatrixTimer::kBytes) : size_t{0};
  return Rooms{options, std::max(matrices, plan.arena_bytes)};
}

int depth_of_rows(const Model& shapes, const PoolFormats& formats, int chunk) {
  const CacheLayout layout(shapes.cache_shape(), formats);
  const double deep =
      std::clamp<double>(kRowBytes / layout.bytes_per_token(), kLeastDepth, kMostDepth);
  const int most = shapes.max_position() - (kMostSteps + 1) * chunk;
  return std::clamp(static_cast<int>(deep), 1, std::max(1, most));
}

// Roofs, and the matrices of both kinds of step.
Result<Calibration> calibrate_matrices(const Model& shapes, const EngineOptions& options,
                                       bool has_chunk, const std::function<void()>& on_part) {
  Calibration out;
  ThreadPool pool(options.n_threads);
  VARVE_CHECKED(pool.start());
  const Contention contention;
  {
    ReadRoof read(pool);
    out.roofs = measure_roofs(pool, read);
  }
  on_part();
  VARVE_TRY(MatrixTimer timer, MatrixTimer::create(*options.kernels, pool, options.products));
  VARVE_TRY(out.decode.weights, timer.step_seconds(shapes, 1));
  on_part();
  const int n = std::min(kMostMatrixTokens, options.chunk_tokens);
  if (has_chunk) {
    VARVE_TRY(const double seconds, timer.step_seconds(shapes, n));
    out.chunk.weights = seconds / n;
  }
  on_part();
  out.waited_share = contention.waited_share();
  return out;
}

}  // namespace

Result<Calibration> calibrate(const std::shared_ptr<const Model>& shapes,
                              const EngineOptions& wanted, const Calibration* same,
                              const std::function<void()>& on_part) {
  EngineOptions options = wanted;
  VARVE_TRY(const MemoryPlan plan, Engine::plan(*shapes, options));
  options.chunk_tokens = plan.chunk_tokens;
  const auto macs = static_cast<double>(shapes->decode_weight_macs());
  const bool has_chunk = kLeastChunk * macs <= kMostChunkMacs;
  const int chunk =
      static_cast<int>(std::clamp<double>(kChunkMacs / macs, kLeastChunk, kMostChunk));
  const int depth = depth_of_rows(*shapes, options.formats, chunk);
  VARVE_TRY(const Rooms rooms, rooms_of(*shapes, options, depth, chunk, same == nullptr));
  VARVE_CHECKED(check_room(rooms));
  Calibration out;
  if (same != nullptr) {
    out.roofs = same->roofs;
    out.decode.weights = same->decode.weights;
  } else {
    VARVE_TRY(out, calibrate_matrices(*shapes, options, has_chunk, on_part));
  }

  const FlushDenormals flush;
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(shapes, rooms.rows));
  const Contention contention;
  out.decode.n_tokens = 1;
  VARVE_CHECKED(measure_lines(*engine, depth, same ? &same->decode : nullptr, out.decode));
  on_part();
  if (has_chunk && same == nullptr) {
    out.chunk.n_tokens = chunk;
    VARVE_CHECKED(measure_lines(*engine, depth, nullptr, out.chunk));
  }
  on_part();
  out.waited_share = std::max(out.waited_share, contention.waited_share());
  return out;
}

}  // namespace varve
