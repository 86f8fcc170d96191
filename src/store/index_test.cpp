#include "store/index.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/rng.h"
#include "store/test_values.h"

namespace varve {
namespace {

EntryKey block(uint64_t i) {
  return {StoredKind::block, test_digest(5, i)};
}
EntryKey point(uint64_t i) {
  return {StoredKind::point, test_digest(6, i)};
}

ValueRecord child_of(uint64_t parent, uint64_t bytes = 1000, uint32_t tokens = 128) {
  return {.n_ids = 128,
          .n_tokens = tokens,
          .value_bytes = bytes,
          .fingerprint = test_digest(7, 0),
          .parent = test_digest(5, parent)};
}

StoreIndex::Entry& add(StoreIndex& index, const EntryKey& key, ValueRecord record) {
  record.kind = key.kind;
  index.stamp(record);
  return index.add(key, record, StoreIndex::State::stored);
}

std::vector<EntryKey> evicted(StoreIndex& index, uint64_t count) {
  std::vector<EntryKey> keys;
  for (const auto& victim : index.evict(0, count)) keys.push_back(victim.key);
  return keys;
}

TEST(StoreIndex, CountsWhatIsThere) {
  StoreIndex index;
  add(index, block(1), child_of(0));
  add(index, block(2), child_of(1));
  add(index, point(1), child_of(2, 500));
  EXPECT_EQ(index.totals().blocks, 2u);
  EXPECT_EQ(index.totals().points, 1u);
  EXPECT_EQ(index.totals().bytes, 2500u);
  add(index, block(2), child_of(1, 2000));  // in the place of the first
  EXPECT_EQ(index.totals().bytes, 3500u);
  index.remove(*index.find(block(1)));
  EXPECT_EQ(index.find(block(1)), nullptr);
  EXPECT_EQ(index.totals().bytes, 2500u);
  EXPECT_EQ(index.find(block(0)), nullptr) << "only named as a parent";
  EXPECT_EQ(index.record(*index.find(block(2))).parent, test_digest(5, 1));
}

TEST(StoreIndex, AChainGoesFromItsEnd) {
  StoreIndex index;
  for (uint64_t i = 1; i <= 5; ++i) add(index, block(i), child_of(i - 1));
  add(index, point(1), child_of(3));
  for (int i = 0; i < 9; ++i) index.touch(*index.find(block(5)));  // worth more than its parents
  EXPECT_EQ(evicted(index, 1), std::vector{point(1)});
  EXPECT_EQ(evicted(index, 2), (std::vector{block(5), block(4)}));
  EXPECT_EQ(evicted(index, 9), (std::vector{block(3), block(2), block(1)}));
  EXPECT_EQ(index.totals().count(), 0u);
}

TEST(StoreIndex, WorthIsReuseTimesTokensByBytes) {
  StoreIndex index;
  add(index, block(1), child_of(100, 1000));
  add(index, block(2), child_of(200, 1000));
  add(index, block(3), child_of(300, 100));         // small
  add(index, block(4), child_of(400, 1000, 1280));  // saves much
  index.touch(*index.find(block(1)));
  EXPECT_EQ(evicted(index, 2), (std::vector{block(2), block(1)}));
  // Of two that are worth the same, the one that was used longer ago.
  EXPECT_EQ(evicted(index, 2), (std::vector{block(3), block(4)}));
}

TEST(StoreIndex, WhatWasWorthALotLongAgoGivesWay) {
  StoreIndex index;
  add(index, block(1), child_of(100));
  for (int i = 0; i < 5; ++i) index.touch(*index.find(block(1)));
  // Used once each, one after the other; in time the first goes.
  uint64_t n = 2;
  for (; index.find(block(1)) != nullptr && n < 50; ++n) {
    index.touch(add(index, block(n), child_of(1000 + n)));
    evicted(index, 1);
    if (index.find(block(1)) != nullptr) add(index, block(1000 + n), child_of(2000 + n));
  }
  EXPECT_LT(n, 50u);
  EXPECT_GT(n, 4u);
}

TEST(StoreIndex, WhatIsQueuedStaysWithItsParents) {
  StoreIndex index;
  add(index, block(1), child_of(0));
  add(index, block(2), child_of(1));
  index.add(block(3), child_of(2), StoreIndex::State::queued);
  EXPECT_TRUE(evicted(index, 3).empty());
  index.find(block(3))->state = StoreIndex::State::stored;
  EXPECT_EQ(evicted(index, 3).size(), 3u);
}

TEST(StoreIndex, ChildrenMayComeBeforeTheirParent) {
  StoreIndex index;
  add(index, block(2), child_of(1));
  add(index, point(1), child_of(1));
  EXPECT_EQ(index.find(block(1)), nullptr);
  add(index, block(1), child_of(0));
  std::set<Digest> children;
  index.for_each_child(block(1).digest,
                       [&](const auto& entry) { children.insert(entry.key().digest); });
  EXPECT_EQ(children, (std::set{block(2).digest, point(1).digest}));
  EXPECT_EQ(evicted(index, 3).back(), block(1));
}

TEST(StoreIndex, ATreeGoesAsAWhole) {
  StoreIndex index;
  for (uint64_t i = 1; i <= 4; ++i) add(index, block(i), child_of(i - 1));
  add(index, block(10), child_of(2));
  add(index, point(1), child_of(10));
  EXPECT_EQ(index.remove_tree(*index.find(block(3))).size(), 2u);
  EXPECT_EQ(index.remove_tree(*index.find(block(1))).size(), 4u);
  EXPECT_EQ(index.totals().count(), 0u);
  EXPECT_EQ(index.totals().bytes, 0u);
}

TEST(StoreIndex, ChainsThatBiteTheirTailsHurtNobody) {
  StoreIndex index;
  add(index, block(1), child_of(1));
  EXPECT_EQ(evicted(index, 1).size(), 1u);
  add(index, block(2), child_of(3));
  add(index, block(3), child_of(2));
  EXPECT_TRUE(evicted(index, 1).empty());
  EXPECT_EQ(index.remove_tree(*index.find(block(2))).size(), 2u);
  EXPECT_EQ(index.totals().count(), 0u);
}

TEST(StoreIndex, CountsByModel) {
  StoreIndex index;
  ValueRecord other = child_of(0);
  other.fingerprint = test_digest(7, 1);
  ValueRecord newer = child_of(0);
  newer.version = kStoreVersion + 1;
  add(index, block(1), child_of(0));
  add(index, block(2), other);
  add(index, block(3), newer);
  EXPECT_EQ(index.count_of(index.model(test_digest(7, 0))), 1u);
  EXPECT_EQ(index.count_of(index.model(test_digest(7, 1))), 1u);
  EXPECT_EQ(index.totals().count(), 3u);
  index.remove(*index.find(block(1)));
  EXPECT_EQ(index.count_of(index.model(test_digest(7, 0))), 0u);
}

// Against plain maps: no child is ever left without its parent, and the sums hold.
TEST(StoreIndex, RandomTrees) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed);
    StoreIndex index;
    std::map<Digest, Digest> parents;  // of what is there
    std::map<Digest, uint64_t> bytes;
    for (uint64_t step = 1; step < 300; ++step) {
      const uint64_t parent = rng.next() % step;
      if (parent != 0 && index.find(block(parent)) == nullptr) continue;
      const uint64_t size = 1 + rng.next() % 1000;
      add(index, block(step), child_of(parent, size));
      parents[block(step).digest] = block(parent).digest;
      bytes[block(step).digest] = size;
      if (rng.next() % 3 == 0) index.touch(*index.find(block(step)));
      if (step % 16 != 0) continue;
      const uint64_t to_free = rng.next() % 3000;
      uint64_t freed = 0;
      for (const auto& victim : index.evict(to_free, 0)) {
        for (const auto& [child, its_parent] : parents) {
          EXPECT_NE(its_parent, victim.key.digest) << "a parent went before its child";
        }
        freed += victim.value_bytes;
        parents.erase(victim.key.digest);
        bytes.erase(victim.key.digest);
      }
      EXPECT_TRUE(freed >= to_free || index.totals().count() == 0);
      uint64_t sum = 0;
      for (const auto& [key, size_of] : bytes) sum += size_of;
      EXPECT_EQ(index.totals().bytes, sum);
      EXPECT_EQ(index.totals().blocks, bytes.size());
      if (index.find(block(1)) == nullptr) break;
    }
  }
}

}  // namespace
}  // namespace varve
