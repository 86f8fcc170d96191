// Law 1: nothing about how tokens were brought in ever changes a logit. Bit-equal, not close.
//
// The yardstick of each test is a plain run: one session, one thread, one token a step, so every
// token is decoded. Everything else (chunks, threads, neighbours, forks, rewinds) takes other paths
// through the code.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "base/rng.h"
#include "support/golden.h"
#include "support/reference_run.h"

namespace varve {
namespace {

using testing_support::engine_or_fail;
using testing_support::session_or_fail;

std::vector<int32_t> random_ids(int n, int vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab)));
  return ids;
}

// The first position at which two runs differ in any bit, -1 if none does.
int first_difference(std::span<const float> a, std::span<const float> b, int vocab) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) {
      return static_cast<int>(i / static_cast<size_t>(vocab));
    }
  }
  return a.size() == b.size() ? -1 : static_cast<int>(std::min(a.size(), b.size()));
}

struct Case {
  std::string model;
  std::string kernels;
  Products products;
  RowFormat format;
  int recent = PoolFormats{}.recent_tokens;
  int sinks = PoolFormats{}.sink_tokens;

  std::string name() const {
    std::string text = model + "_" + kernels + (products == Products::f32 ? "_f32_" : "_bf16_") +
                       std::string(row_format_name(format)) + "_rows";
    if (recent != PoolFormats{}.recent_tokens) text += fmt::format("_{}_{}_whole", sinks, recent);
    std::replace_if(text.begin(), text.end(), [](char c) { return !std::isalnum(c); }, '_');
    return text;
  }
};

class Laws : public testing::TestWithParam<Case> {
 protected:
  // Long enough for two HCA entries, a full window and picks that leave entries out.
  static constexpr int kTokens = 300;

  Laws() : model_(load(GetParam().model)), vocab_(model_->vocab_size()) {
    options_.kernels = select_kernels(GetParam().kernels).value();
    options_.products = GetParam().products;
    options_.formats = PoolFormats::all(GetParam().format);
    options_.formats.recent_tokens = GetParam().recent;
    options_.formats.sink_tokens = GetParam().sinks;
    options_.n_threads = 1;
    options_.chunk_tokens = 1;
    ids_ = random_ids(kTokens, vocab_, 11);
  }

  static std::shared_ptr<const Model> load(const std::string& name) {
    return testing_support::load_or_fail(testing_support::data_dir() + "/" + name);
  }

  // The plain run, made once for each case.
  const std::vector<float>& plain() {
    static std::map<std::string, std::vector<float>> made;
    std::vector<float>& logits = made[GetParam().name()];
    if (logits.empty()) {
      logits = testing_support::all_logits(model_, ids_, options_);
      const auto finite = [](float x) { return std::isfinite(x); };
      EXPECT_TRUE(std::all_of(logits.begin(), logits.end(), finite));
    }
    return logits;
  }
  std::span<const float> plain_row(int position) {
    return std::span(plain()).subspan(static_cast<size_t>(position * vocab_),
                                      static_cast<size_t>(vocab_));
  }
  std::span<const int32_t> ids(int begin, int end) const {
    return std::span(ids_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }
  void expect_plain(const Session& session) {
    ASSERT_EQ(session.logits().size(), static_cast<size_t>(vocab_));
    EXPECT_EQ(first_difference(session.logits(), plain_row(session.n_tokens() - 1), vocab_), -1)
        << "at " << session.n_tokens();
  }

  std::shared_ptr<const Model> model_;
  int vocab_;
  EngineOptions options_;
  std::vector<int32_t> ids_;
};

TEST_P(Laws, ChunkSize) {
  for (int chunk : {3, 4, 5, 64, 127, 128, 129, 500}) {
    EngineOptions options = options_;
    options.chunk_tokens = chunk;
    EXPECT_EQ(first_difference(testing_support::all_logits(model_, ids_, options), plain(), vocab_),
              -1)
        << "chunks of " << chunk;
  }
}

TEST_P(Laws, Threads) {
  for (int threads : {2, 3}) {
    for (int chunk : {1, 2, 7, 500}) {
      EngineOptions options = options_;
      options.chunk_tokens = chunk;
      options.n_threads = threads;
      EXPECT_EQ(
          first_difference(testing_support::all_logits(model_, ids_, options), plain(), vocab_), -1)
          << threads << " threads, chunks of " << chunk;
    }
  }
}

TEST_P(Laws, RandomSplits) {
  EngineOptions options = options_;
  options.chunk_tokens = 100;
  options.ctx_tokens = kTokens;
  options.n_threads = 2;
  Rng rng(5);
  for (int round = 0; round < 5; ++round) {
    const auto engine = engine_or_fail(model_, options);
    Session session = session_or_fail(*engine);
    std::vector<float> logits;
    while (session.n_tokens() < kTokens) {
      const int begin = session.n_tokens();
      const int end = std::min<int>(kTokens, begin + 1 + static_cast<int>(rng.below(60)));
      ASSERT_TRUE(session.enqueue(ids(begin, end)));
      testing_support::step_all_logits(*engine, session, logits);
    }
    EXPECT_EQ(first_difference(logits, plain(), vocab_), -1);
  }
}

// So deep that the indexer's keys are several tiles and other keys several spans, which threads
// share out as they come.
TEST_P(Laws, Depth) {
  constexpr int kMore = 20;
  const int depth = std::min(4500, model_->max_position() - kMore);
  std::vector<float> first;
  for (const auto& [threads, chunk] : {std::pair{1, 1}, {3, 1}, {3, kMore}}) {
    EngineOptions options = options_;
    options.n_threads = threads;
    options.chunk_tokens = chunk;
    options.ctx_tokens = depth + kMore;
    options.resume_points = 0;
    const auto engine = engine_or_fail(model_, options);
    Session session = session_or_fail(*engine);
    ASSERT_TRUE(session.fill_seeded(depth, 7));
    ASSERT_TRUE(session.enqueue(ids(0, kMore)));
    std::vector<float> logits;
    testing_support::step_all_logits(*engine, session, logits);
    if (first.empty()) first = logits;
    EXPECT_EQ(first_difference(logits, first, vocab_), -1)
        << threads << " threads, chunks of " << chunk;
  }
}

TEST_P(Laws, Fork) {
  EngineOptions options = options_;
  options.chunk_tokens = 50;
  options.ctx_tokens = kTokens;
  options.n_sessions = 2;
  const auto other = random_ids(kTokens, vocab_, 99);
  for (int at : {1, 4, 127, 128, 129, 200, 256}) {
    const auto engine = engine_or_fail(model_, options);
    Session trunk = session_or_fail(*engine);
    ASSERT_TRUE(trunk.append(ids(0, at)));
    auto twin = trunk.fork();
    ASSERT_TRUE(twin) << twin.error().message;
    expect_plain(*twin);
    // The trunk goes somewhere else first: the twin must not notice.
    ASSERT_TRUE(trunk.append(std::span(other).first(40)));
    ASSERT_TRUE(twin->append(ids(at, kTokens)));
    expect_plain(*twin);
  }
}

TEST_P(Laws, Rewind) {
  EngineOptions options = options_;
  options.chunk_tokens = 64;
  options.ctx_tokens = kTokens + 64;
  options.n_threads = 2;
  const auto noise = random_ids(64, vocab_, 123);
  for (int interval : {128, 100000}) {  // resume points inside, or only the beginning
    options.resume_interval_tokens = interval;
    for (int to : {0, 1, 3, 4, 5, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 299, 300}) {
      const auto engine = engine_or_fail(model_, options);
      Session session = session_or_fail(*engine);
      ASSERT_TRUE(session.append(ids(0, kTokens)));
      ASSERT_TRUE(session.append(noise));
      const auto done = session.rewind(to);
      ASSERT_TRUE(done) << done.error().message;
      ASSERT_EQ(session.n_tokens(), to);
      if (to > 0) expect_plain(session);
      if (to < kTokens) {
        ASSERT_TRUE(session.append(ids(to, kTokens)));
        expect_plain(session);
      }
    }
  }
}

TEST_P(Laws, RewindOfAForkLeavesTheOtherAlone) {
  EngineOptions options = options_;
  options.chunk_tokens = 64;
  options.ctx_tokens = kTokens;
  options.n_sessions = 2;
  options.resume_interval_tokens = 50;
  const auto noise = random_ids(150, vocab_, 7);
  const auto engine = engine_or_fail(model_, options);
  Session a = session_or_fail(*engine);
  ASSERT_TRUE(a.append(ids(0, 260)));
  auto b = a.fork();
  ASSERT_TRUE(b);
  ASSERT_TRUE(b->rewind(140));
  ASSERT_TRUE(b->append(noise));
  ASSERT_TRUE(a.append(ids(260, kTokens)));
  expect_plain(a);
  ASSERT_TRUE(b->rewind(140));
  expect_plain(*b);
  ASSERT_TRUE(b->append(ids(140, kTokens)));
  expect_plain(*b);
}

// Sessions that come and go, each beginning with tokens that others have read: whatever is taken
// over of it, in however small a pool, the logits are those of the plain run.
TEST_P(Laws, KnownPrefixes) {
  const auto noise = random_ids(kTokens, vocab_, 55);
  for (const int interval : {64, 100000}) {
    EngineOptions options = options_;
    options.chunk_tokens = 50;
    options.ctx_tokens = kTokens + 8;
    options.n_threads = 2;
    options.n_sessions = 2;
    options.resume_points = interval == 64 ? 3 : 0;
    options.kept_points = 2;
    options.resume_interval_tokens = interval;
    const auto engine = engine_or_fail(model_, options);
    Rng rng(static_cast<uint64_t>(interval));
    int n_reused = 0;
    for (int round = 0; round < 25; ++round) {
      const int n = 1 + static_cast<int>(rng.below(kTokens));
      auto session = engine->new_session(ids(0, n));
      ASSERT_TRUE(session) << session.error().message;
      n_reused += session->n_reused();
      while (session->n_pending() > 0) engine->step();
      expect_plain(*session);
      // On to somewhere else, or along the same way; back, too.
      if (rng.below(2) == 0) {
        ASSERT_TRUE(session->append(std::span(noise).first(rng.below(8) + 1)));
        const int to = static_cast<int>(rng.below(static_cast<uint64_t>(n))) + 1;
        ASSERT_TRUE(session->rewind(to));
        expect_plain(*session);
      } else if (n < kTokens) {
        const int more = 1 + static_cast<int>(rng.below(static_cast<uint64_t>(kTokens - n)));
        ASSERT_TRUE(session->append(ids(n, n + more)));
        expect_plain(*session);
      }
    }
    EXPECT_GT(n_reused, 0);
  }
}

// Blocks are there and no details are: so many tokens are read again that every layer's newest rows
// are right, and what blocks hold stays.
TEST(BundledModel, RepliesTheSameFromBlocksAlone) {
  const auto model = testing_support::load_or_fail(VARVE_SOURCE_DIR "/models/varve-tiny");
  EngineOptions options;
  options.formats = PoolFormats::all(RowFormat::native);
  options.ctx_tokens = 2500;
  options.chunk_tokens = 512;
  options.n_threads = 2;
  options.n_sessions = 1;
  options.resume_points = 0;
  options.resume_interval_tokens = 100000;
  const auto ids = random_ids(2200, model->vocab_size(), 8);
  const auto cold = engine_or_fail(model, options), warm = engine_or_fail(model, options);
  const int replay = warm->cache().layout().replay_tokens().value();
  ASSERT_LT(replay, 1500);
  {
    Session first = session_or_fail(*warm);
    ASSERT_TRUE(first.append(ids));
    // Back to where no resume point is.
    for (const int to : {2176, 2100, 1999, 1537}) {
      ASSERT_TRUE(first.rewind(to));
      Session plain = session_or_fail(*cold);
      ASSERT_TRUE(plain.append(std::span(ids).first(static_cast<size_t>(to))));
      EXPECT_EQ(first_difference(first.logits(), plain.logits(), model->vocab_size()), -1) << to;
    }
    ASSERT_TRUE(first.append(std::span(ids).subspan(1537)));
  }
  // Others, of which blocks are known and the last point has been taken for something else.
  for (const int n : {2176, 2047, 1600, 1537}) {
    auto again = warm->new_session(std::span(ids).first(static_cast<size_t>(n)));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->n_reused(), n / kBlockTokens * kBlockTokens - replay);
    while (again->n_pending() > 0) warm->step();
    Session plain = session_or_fail(*cold);
    ASSERT_TRUE(plain.append(std::span(ids).first(static_cast<size_t>(n))));
    EXPECT_EQ(first_difference(again->logits(), plain.logits(), model->vocab_size()), -1) << n;
  }
}

TEST_P(Laws, NeighboursInTheSameStep) {
  EngineOptions options = options_;
  options.chunk_tokens = 37;
  options.ctx_tokens = kTokens;
  options.n_sessions = 3;
  options.n_threads = 2;
  const auto engine = engine_or_fail(model_, options);
  Session mine = session_or_fail(*engine);
  Session second = session_or_fail(*engine);
  Session third = session_or_fail(*engine);
  const auto other = random_ids(kTokens, vocab_, 21);
  // The second prefills while the first decodes, and the third comes and goes.
  ASSERT_TRUE(second.enqueue(std::span(other).first(290)));
  Rng rng(1);
  while (mine.n_tokens() < kTokens) {
    const int begin = mine.n_tokens();
    const int end = std::min<int>(kTokens, begin + 1 + static_cast<int>(rng.below(9)));
    ASSERT_TRUE(mine.enqueue(ids(begin, end)));
    if (third.n_tokens() + third.n_pending() < 250) {
      ASSERT_TRUE(third.enqueue(ids(0, 3)));
    }
    while (mine.n_pending() > 0) ASSERT_GT(engine->step(), 0);
    expect_plain(mine);
  }
}

// A hash table may name one expert twice for a token (here: expert 0, always): an expert then has
// more pairs than a batch has tokens.
TEST(HashRouting, AnExpertNamedTwiceFits) {
  namespace fs = std::filesystem;
  const fs::path from = testing_support::golden_dir("v4-micro");
  const fs::path to = fs::path(testing::TempDir()) / "varve_hash_twice";
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json", fs::copy_options::overwrite_existing);
  const auto stored = Checkpoint::open((from / "model.safetensors").string());
  ASSERT_TRUE(stored) << stored.error().message;
  std::ifstream in(from / "model.safetensors", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const TensorView* const table = stored->find("layers.0.ffn.gate.tid2eid");
  ASSERT_NE(table, nullptr);
  const std::string_view old(reinterpret_cast<const char*>(table->bytes.data()),
                             table->bytes.size());
  bytes.replace(bytes.find(old), old.size(), old.size(), '\0');
  std::ofstream(to / "model.safetensors", std::ios::binary) << bytes;

  const auto model = testing_support::load_or_fail(to.string());
  const auto ids = random_ids(200, model->vocab_size(), 3);
  for (const Products products : {Products::f32, Products::bf16}) {
    const auto plain =
        testing_support::all_logits(model, ids, {.chunk_tokens = 1, .products = products});
    for (const int chunk : {2, 16, 64, 200}) {
      EXPECT_EQ(first_difference(testing_support::all_logits(
                                     model, ids, {.chunk_tokens = chunk, .products = products}),
                                 plain, model->vocab_size()),
                -1)
          << "chunks of " << chunk;
    }
  }
  fs::remove_all(to);
}

// Deeper than the small models reach: 16 parts of latents, the last of them short.
TEST(ManyLatents, AnyThreadsAndChunks) {
  namespace fs = std::filesystem;
  constexpr int kDepth = 17'000, kMore = 20;
  const fs::path from = testing_support::golden_dir("mla-deepseek-v2");
  const fs::path to = fs::path(testing::TempDir()) / "varve_many_latents";
  fs::create_directories(to);
  fs::copy_file(from / "model.safetensors", to / "model.safetensors",
                fs::copy_options::overwrite_existing);
  std::ifstream in(from / "config.json");
  std::string config((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const std::string positions = "\"max_position_embeddings\": ";
  config.replace(config.find(positions + "2048"), positions.size() + 4, positions + "32768");
  std::ofstream(to / "config.json") << config;

  const auto model = testing_support::load_or_fail(to.string());
  const auto ids = random_ids(kMore, model->vocab_size(), 3);
  for (const RowFormat format : {RowFormat::f32, RowFormat::q8_0}) {
    std::vector<float> first;
    for (const auto& [threads, chunk] : {std::pair{1, 1}, {1, kMore}, {3, 1}, {3, 7}}) {
      const auto engine = engine_or_fail(model, {.ctx_tokens = kDepth + kMore,
                                                 .chunk_tokens = chunk,
                                                 .n_threads = threads,
                                                 .formats = PoolFormats::all(format),
                                                 .resume_points = 0});
      Session session = session_or_fail(*engine);
      ASSERT_TRUE(session.fill_seeded(kDepth, 7));
      ASSERT_TRUE(session.enqueue(ids));
      std::vector<float> logits;
      testing_support::step_all_logits(*engine, session, logits);
      if (first.empty()) first = logits;
      EXPECT_EQ(first_difference(logits, first, model->vocab_size()), -1)
          << threads << " threads, chunks of " << chunk;
    }
  }
  fs::remove_all(to);
}

// The reference set is slow, and its sums know nothing of tiles: small models do for it.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Kernels* set : available_kernels()) {
    std::vector<std::string> models = {"goldens/v4-micro", "shapes/seed-19", "goldens/gqa-qwen3",
                                       "goldens/gqa-mistral-swa", "goldens/dsa-deepseek-v32"};
    if (set->name != "ref") {
      models.insert(models.end(),
                    {"goldens/v4-flash-mini", "goldens/v4-pro-mini", "goldens/mla-deepseek-v2",
                     "shapes/seed-5", "shapes/seed-12", "shapes/seed-28", "shapes/seed-33"});
    }
    for (const std::string& model : models) {
      const std::string kernels(set->name);
      all.push_back({model, kernels, Products::f32, RowFormat::f32});
      all.push_back({model, kernels, Products::bf16, RowFormat::native});
    }
    for (const char* const model : {"goldens/v4-micro", "goldens/gqa-mistral-swa"}) {
      all.push_back({model, std::string(set->name), Products::f32, RowFormat::f16});
    }
    all.push_back({"goldens/v4-micro", std::string(set->name), Products::f32, RowFormat::native});
    all.push_back({"goldens/v4-micro", std::string(set->name), Products::bf16, RowFormat::bf16});
    // Quantised rows; the newest ones whole to different extents, so that few or many are not.
    const auto quantized = [&](const char* model, RowFormat format, int recent = 128, int sinks = 4,
                               Products products = Products::bf16) {
      all.push_back({std::string("goldens/") + model, std::string(set->name), products, format,
                     recent, sinks});
    };
    quantized("gqa-mistral-swa", RowFormat::q4_1, 16, 3);
    quantized("dsa-deepseek-v32", RowFormat::q8_0, 5, 0);
    if (set->name == "ref") continue;
    quantized("gqa-qwen3", RowFormat::q8_0);
    quantized("gqa-qwen3", RowFormat::q4_0, 20);
    quantized("mla-deepseek-v2", RowFormat::q5_0, 30);
    quantized("gqa-qwen3", RowFormat::q5_1, 0, 0);
    quantized("gqa-qwen3", RowFormat::mxfp4, 0, 4);
    quantized("gqa-qwen3", RowFormat::fp8, 100, 0);
    quantized("gqa-qwen3", RowFormat::q5_0, 150, 100, Products::f32);
    quantized("gqa-mistral-swa", RowFormat::q8_0);
    quantized("mla-deepseek-v2", RowFormat::q4_0, 0, 0);
    quantized("mla-deepseek-v2", RowFormat::fp8);
    quantized("v4-micro", RowFormat::q8_0);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, Laws, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.name(); });

}  // namespace
}  // namespace varve
