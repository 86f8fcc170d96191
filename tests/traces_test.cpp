// Law 1 across everything that a session can live through: random traces of reading, forking, going
// back, making room, parking on disk, a crash, taking up again, among neighbours. After every step
// the logits are those of a cold run over the same tokens, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>

#include "base/rng.h"
#include "support/golden.h"
#include "support/reference_run.h"

namespace varve {
namespace {

namespace fs = std::filesystem;
using testing_support::engine_or_fail;
using testing_support::session_or_fail;

constexpr int kCtx = 400;
constexpr int kSessions = 3;
constexpr int kStepsOfTrace = 14;

struct Case {
  const char* model;
  RowFormat format;
  int recent = PoolFormats{}.recent_tokens;
};

// VARVE_TRACES of them; 300 where it says nothing.
int n_traces() {
  const char* const text = std::getenv("VARVE_TRACES");
  return text == nullptr ? 300 : std::atoi(text);
}

class Trace {
 public:
  Trace(const Case& c, uint64_t seed) : rng_(seed), name_(fmt::format("{}_{}", c.model, seed)) {
    model_ = testing_support::load_or_fail(testing_support::data_dir() + "/goldens/" + c.model);
    options_.formats = PoolFormats::all(c.format);
    options_.formats.recent_tokens = c.recent;
    options_.products = below(2) == 0 ? Products::bf16 : Products::f32;
    options_.ctx_tokens = kCtx;
    options_.n_sessions = kSessions;
    options_.n_threads = 1 + below(2);
    options_.chunk_tokens = 1 + below(90);
    options_.mixed_prefill_tokens = 1 + below(40);
    options_.resume_points = below(4);
    constexpr int kIntervals[] = {32, 128, 1 << 20};
    options_.resume_interval_tokens = kIntervals[below(3)];
    options_.kept_tokens = below(2) * 512;
    options_.kept_points = 2 * below(3);
    options_.cache_root = store_fingerprint({}, with_kernels(options_));
    directory_ = testing::TempDir() + "traces_" + name_;
    fs::remove_all(directory_);
    for (int i = 0; i < 3; ++i) streams_.push_back(random_ids(kCtx));
    open();
  }
  ~Trace() {
    close();
    fs::remove_all(directory_);
  }

  void run() {
    for (int i = 0; i < kStepsOfTrace && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(fmt::format("{}, step {}", name_, i));
      step();
    }
  }
  uint64_t reused() const { return reused_ + engine_->reuse().reused_tokens; }
  uint64_t stored() const { return stored_ + engine_->reuse().stored_tokens; }

 private:
  int below(int n) { return static_cast<int>(rng_.below(static_cast<uint64_t>(n))); }

  static EngineOptions with_kernels(EngineOptions options) {
    options.kernels = select_kernels("").value();
    return options;
  }

  std::vector<int32_t> random_ids(int n) {
    std::vector<int32_t> ids(static_cast<size_t>(n));
    for (int32_t& id : ids) id = below(model_->vocab_size());
    return ids;
  }

  // What is likely to have been read before, and then something else.
  std::vector<int32_t> some_history() {
    const std::vector<int32_t>& stream = streams_[static_cast<size_t>(below(3))];
    std::vector<int32_t> ids(stream.begin(), stream.begin() + 1 + below(kCtx - 60));
    if (below(3) == 0) {
      const std::vector<int32_t> tail = random_ids(below(50));
      ids.insert(ids.end(), tail.begin(), tail.end());
      streams_[static_cast<size_t>(below(3))] = ids;
      streams_.back().resize(kCtx, 1);
      for (auto& other : streams_) other.resize(kCtx, 2);
    }
    return ids;
  }

  void open() {
    Cache probe(model_->cache_shape(), {.formats = options_.formats, .ctx_tokens = kCtx});
    const size_t block = probe.layout().block_bytes, detail = probe.layout().detail_bytes;
    auto store = Store::open({.directory = directory_,
                              .fingerprint = options_.cache_root,
                              .root = options_.cache_root,
                              .description = name_,
                              .budget_bytes = uint64_t{1} << 30,
                              .queue_bytes = 64 << 20,
                              .block_bytes = block,
                              .point_bytes = block + detail});
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    engine_ = engine_or_fail(model_, options_);
    engine_->set_store(*store_);
  }

  void close() {
    if (!engine_) return;
    reused_ += engine_->reuse().reused_tokens;
    stored_ += engine_->reuse().stored_tokens;
    sessions_.clear();
    engine_.reset();
    store_.reset();
  }

  void restart() {
    close();
    open();
  }

  // The directory as it lies there while the store is at work is what a killed process leaves.
  void crash() {
    const std::string left = directory_ + "_left";
    fs::remove_all(left);
    std::error_code ignored;  // files come and go meanwhile
    fs::copy(directory_, left, fs::copy_options::recursive, ignored);
    close();
    fs::remove_all(directory_);
    fs::rename(left, directory_);
    open();
  }

  Session* any() {
    return sessions_.empty()
               ? nullptr
               : &sessions_[static_cast<size_t>(below(static_cast<int>(sessions_.size())))];
  }

  void drop_one() {
    if (!sessions_.empty())
      sessions_.erase(sessions_.begin() + below(static_cast<int>(sessions_.size())));
  }

  void begin() {
    if (sessions_.size() == kSessions) drop_one();
    auto session = engine_->new_session(some_history());
    ASSERT_TRUE(session) << session.error().message;
    sessions_.push_back(std::move(*session));
  }

  void append(Session& session) {
    const int room = kCtx - session.n_tokens() - session.n_pending();
    if (room <= 0) return;
    ASSERT_TRUE(session.enqueue(random_ids(1 + below(std::min(room, 50)))));
  }

  void fork() {
    if (sessions_.empty() || sessions_.size() == kSessions) return;
    auto twin = any()->fork();
    ASSERT_TRUE(twin) << twin.error().message;
    sessions_.push_back(std::move(*twin));
  }

  // Other tokens than any session has, until nothing else is known.
  void flood() {
    sessions_.clear();
    for (int i = 0; i < kSessions + 1; ++i) {
      Session passing = session_or_fail(*engine_);
      ASSERT_TRUE(passing.append(random_ids(kCtx - below(100))));
    }
  }

  void step() {
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        begin();
        break;
      case 3:
        fork();
        break;
      case 4:
        if (Session* const s = any()) {
          finish();
          ASSERT_TRUE(s->rewind(below(s->n_tokens() + 1)));
        }
        break;
      case 5:
        if (Session* const s = any()) s->save_resume_point();
        break;
      case 6:
        drop_one();
        break;
      case 7:
        flood();
        break;
      case 8:
        restart();
        break;
      case 9:
        crash();
        break;
      default:
        for (Session& s : sessions_) append(s);
    }
    // Now and then sessions are left in the middle of what they read.
    if (below(3) == 0) {
      for (int i = below(4); i > 0; --i) engine_->step();
    } else {
      finish();
      for (Session& s : sessions_) expect_cold(s);
    }
  }

  void finish() {
    while (engine_->step() > 0) {
    }
  }

  void expect_cold(Session& session) {
    if (session.n_tokens() == 0) return;
    // A fork of one that was reading has none yet.
    if (session.logits().empty()) {
      ASSERT_TRUE(session.rewind(session.n_tokens()));
    }
    const std::vector<int32_t> ids(session.ids().begin(), session.ids().end());
    std::vector<float>& cold = cold_[ids];
    if (cold.empty()) {
      EngineOptions options = options_;
      options.n_sessions = 1;
      options.n_threads = 1;
      options.chunk_tokens = kCtx;
      const auto engine = engine_or_fail(model_, options);
      Session plain = session_or_fail(*engine);
      ASSERT_TRUE(plain.append(ids));
      cold.assign(plain.logits().begin(), plain.logits().end());
    }
    ASSERT_EQ(session.logits().size(), cold.size());
    EXPECT_EQ(std::memcmp(session.logits().data(), cold.data(), cold.size() * sizeof(float)), 0)
        << "at " << session.n_tokens();
  }

  Rng rng_;
  const std::string name_;
  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  std::string directory_;
  std::vector<std::vector<int32_t>> streams_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Engine> engine_;
  std::vector<Session> sessions_;
  std::map<std::vector<int32_t>, std::vector<float>> cold_;
  uint64_t reused_ = 0, stored_ = 0;
};

constexpr Case kCases[] = {
    {"v4-micro", RowFormat::native},        {"v4-micro", RowFormat::f32},
    {"v4-micro", RowFormat::q8_0},          {"v4-micro", RowFormat::bf16},
    {"gqa-llama3", RowFormat::bf16},        {"gqa-qwen3", RowFormat::q8_0},
    {"gqa-qwen3", RowFormat::q4_0, 20},     {"gqa-mistral-swa", RowFormat::bf16},
    {"gqa-mistral-swa", RowFormat::q8_0},   {"mha-llama", RowFormat::f32},
    {"mla-deepseek-v2", RowFormat::native}, {"mla-deepseek-v2", RowFormat::q5_0, 30},
    {"mla-deepseek-v3", RowFormat::bf16},   {"dsa-deepseek-v32", RowFormat::native},
    {"gqa-qwen3", RowFormat::mxfp4, 0},
};

TEST(Traces, EveryStepIsAsAColdRun) {
  uint64_t reused = 0, stored = 0;
  for (int i = 0; i < n_traces() && !HasFailure(); ++i) {
    Trace trace(kCases[static_cast<size_t>(i) % std::size(kCases)], static_cast<uint64_t>(i) + 1);
    trace.run();
    reused += trace.reused();
    stored += trace.stored();
  }
  // Or the traces would show nothing.
  EXPECT_GT(reused, 1000);
  EXPECT_GT(stored, 1000);
}

}  // namespace
}  // namespace varve
