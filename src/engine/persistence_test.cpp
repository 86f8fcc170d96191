#include "engine/persistence.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine.h"
#include "store/test_values.h"

namespace varve {
namespace {

constexpr int kContext = 2048;
constexpr int kInterval = 256;
constexpr int kTurn = 101;

class PersistenceTest : public testing::Test {
 protected:
  void open() {
    engine_.reset();
    store_.reset();
    const EngineOptions options = {.ctx_tokens = kContext,
                                   .n_sessions = 3,
                                   .resume_interval_tokens = kInterval,
                                   .store_interval_tokens = kInterval,
                                   .cache_root = test_digest(5, 5)};
    engine_ = Engine::create(model_, options).value();
    const CacheLayout& layout = engine_->cache().layout();
    store_ = Store::open({.directory = directory_.path(),
                          .fingerprint = options.cache_root,
                          .root = options.cache_root,
                          .description = "a model of tests",
                          .budget_bytes = uint64_t{1} << 30,
                          .queue_bytes = size_t{64} << 20,
                          .block_bytes = layout.block_bytes,
                          .point_bytes = layout.block_bytes + layout.detail_bytes})
                 .value();
    engine_->set_store(*store_);
  }
  static std::vector<int32_t> ids(int n) {
    std::vector<int32_t> out;
    for (int i = 0; i < n; ++i) out.push_back(7 + i * i % 301);
    return out;
  }
  // A turn, as a server has it: what is known of all ids, the rest is read, a point at the end.
  Session turn(const std::vector<int32_t>& all) {
    Session session = engine_->new_session(all).value();
    while (session.n_pending() > 0) engine_->step();
    session.save_resume_point();
    EXPECT_TRUE(store_->flush());
    return session;
  }

  const TestDirectory directory_;
  const std::shared_ptr<const Model> model_ =
      load_model(std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny").value();
  std::unique_ptr<Store> store_;
  std::unique_ptr<Engine> engine_;
};

// Back to the end of any turn, edited there: nothing before it is read again, and what follows is
// what a run that knew nothing computes.
TEST_F(PersistenceTest, EveryEndOfATurnIsThereAfterARestart) {
  open();
  const std::vector<int32_t> all = ids(kContext);
  constexpr int kTurns = 12;
  turn({all.begin(), all.begin() + 3});  // no entry is closed
  for (int i = 1; i <= kTurns; ++i) turn({all.begin(), all.begin() + i * kTurn});
  const int n_at_interval = kTurns * kTurn / kInterval;
  EXPECT_EQ(store_->stats().points, static_cast<uint64_t>(1 + n_at_interval + kTurns));
  for (const int n : {3, 11 * kTurn, kTurn, 6 * kTurn}) {
    open();
    std::vector<int32_t> edited(all.begin(), all.begin() + n);
    for (int i = 0; i < 140; ++i) edited.push_back(400 + i);
    const Session session = turn(edited);
    EXPECT_EQ(session.n_reused(), n);
    const auto cold = Engine::create(model_, {.ctx_tokens = kContext}).value();
    Session other = cold->new_session().value();
    ASSERT_TRUE(other.append(edited));
    EXPECT_TRUE(std::ranges::equal(session.logits(), other.logits())) << n;
  }
}

}  // namespace
}  // namespace varve
