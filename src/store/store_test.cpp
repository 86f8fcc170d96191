#include "store/store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "base/memory.h"
#include "store/test_values.h"

namespace varve {
namespace {

namespace fs = std::filesystem;
using Got = TestValue::Got;

std::unique_ptr<Store> opened(const StoreOptions& options) {
  auto store = Store::open(options);
  EXPECT_TRUE(store) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

void put_all(Store& store, uint64_t from, uint64_t to, size_t rows_bytes = 4096) {
  for (uint64_t i = from; i < to; ++i) {
    if (!test_value(i, rows_bytes).put(store)) {  // the queue is full
      ASSERT_TRUE(store.flush());
      ASSERT_TRUE(test_value(i, rows_bytes).put(store)) << i;
    }
  }
}

uint64_t misses(const StoreStats& stats, StoreMiss reason) {
  return stats.misses[static_cast<size_t>(reason)];
}

TEST(Store, GivesBackWhatWasPut) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(test_value(i, 4096).get(*store), Got::missed);
    EXPECT_TRUE(test_value(i, 4096).put(*store));
    EXPECT_TRUE(test_value(i, 4096).has(*store));
    EXPECT_EQ(test_value(i, 4096).get(*store), Got::right) << "queued, or just written";
  }
  ASSERT_TRUE(store->flush());
  EXPECT_EQ(store->acknowledged(), 20u);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(test_value(i, 4096).get(*store), Got::right);
  const StoreStats stats = store->stats();
  EXPECT_EQ(stats.blocks, 18u);
  EXPECT_EQ(stats.points, 2u);
  EXPECT_EQ(stats.hits, 40u);
  EXPECT_EQ(misses(stats, StoreMiss::absent), 20u);
  EXPECT_EQ(stats.last_problem, "");
  EXPECT_TRUE(stats.notes.empty());
}

TEST(Store, SurvivesARestart) {
  const TestDirectory directory;
  put_all(*opened(test_options(directory.path())), 0, 100);
  const auto store = opened(test_options(directory.path()));
  EXPECT_EQ(store->stats().blocks + store->stats().points, 100u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(test_value(i, 4096).get(*store), Got::right);
  EXPECT_TRUE(store->stats().notes.empty());
}

TEST(Store, WritesEachValueOnce) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  put_all(*store, 0, 10);
  for (uint64_t i = 0; i < 10; ++i) EXPECT_FALSE(test_value(i, 4096).put(*store));
  ASSERT_TRUE(store->flush());
  for (uint64_t i = 0; i < 10; ++i) EXPECT_FALSE(test_value(i, 4096).put(*store));
  ASSERT_TRUE(store->flush());
  const StoreStats stats = store->stats();
  EXPECT_EQ(stats.already_there, 20u);
  EXPECT_EQ(stats.accepted, 10u);
  EXPECT_EQ(stats.acknowledged, 10u);
  EXPECT_EQ(stats.written_bytes, stats.value_bytes);
}

TEST(Store, ListsPointsAfterABlock) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  put_all(*store, 0, 14);
  int n = 0;
  store->for_each_point(test_value(13, 1).parent, [&](const Digest& key, int n_tail) {
    EXPECT_EQ(key, test_value(13, 1).key);
    EXPECT_EQ(n_tail, 13);
    ++n;
  });
  store->for_each_point(test_value(3, 1).key, [&](const Digest&, int) { ++n; });
  EXPECT_EQ(n, 1);
}

TEST(Store, WhatIsNotExpectedIsAMiss) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  put_all(*store, 0, 8);
  ASSERT_TRUE(store->flush());
  const TestValue value = test_value(3, 4096);
  std::vector<std::byte> rows(4096);
  std::vector<int32_t> ids = value.ids;
  ++ids.back();
  EXPECT_FALSE(store->get_block(value.key, value.parent, ids, rows));
  EXPECT_FALSE(store->get_block(value.key, test_digest(0, 99), value.ids, rows));
  EXPECT_EQ(value.get(*store), Got::right) << "others may ask for it rightly";
  const StoreStats stats = store->stats();
  EXPECT_EQ(misses(stats, StoreMiss::other_ids), 1u);
  EXPECT_EQ(misses(stats, StoreMiss::other_parent), 1u);
  EXPECT_NE(stats.last_problem.find("another parent"), std::string::npos) << stats.last_problem;

  // Rows of another size are of no use to this model: the value is dropped and can be put again.
  EXPECT_FALSE(store->get_block(value.key, value.parent, value.ids, std::span(rows).first(4095)));
  EXPECT_EQ(misses(store->stats(), StoreMiss::other_size), 1u);
  EXPECT_FALSE(value.has(*store));
  EXPECT_TRUE(value.put(*store));
  ASSERT_TRUE(store->flush());
  EXPECT_EQ(value.get(*store), Got::right);
}

TEST(Store, ValuesOfAnotherModelAreMisses) {
  const TestDirectory directory;
  put_all(*opened(test_options(directory.path())), 0, 10);
  StoreOptions other = test_options(directory.path());
  other.fingerprint = test_digest(77, 1);
  other.description = "another model";
  {
    const auto store = opened(other);
    EXPECT_EQ(store->stats().foreign, 10u);
    EXPECT_FALSE(test_value(3, 4096).has(*store));
    EXPECT_EQ(test_value(3, 4096).get(*store), Got::missed);
    EXPECT_EQ(misses(store->stats(), StoreMiss::other_model), 1u);
    EXPECT_NE(store->stats().last_problem.find("another model"), std::string::npos);
    // It may take the key for its own.
    EXPECT_TRUE(test_value(0, 4096).put(*store));
    ASSERT_TRUE(store->flush());
    EXPECT_EQ(test_value(0, 4096).get(*store), Got::right);
    EXPECT_EQ(store->stats().foreign, 9u);
  }
  const auto store = opened(test_options(directory.path()));
  EXPECT_EQ(test_value(3, 4096).get(*store), Got::right) << "what the first model wrote is there";
  EXPECT_EQ(test_value(0, 4096).get(*store), Got::missed);
}

// Writes to the database behind the store's back.
void tamper(const std::string& directory, const std::function<void(Database::Batch&)>& fill) {
  auto files = open_store_files(directory, StoreDirectory::Missing::refuse, size_t{1} << 20);
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_TRUE(files->database->write(0, fill));
}

std::vector<std::byte> value_of(const TestValue& value, const Digest& model) {
  std::vector<std::byte> bytes(
      value_bytes(value.ids.size(), value.rows.size() + value.open.size()));
  write_value({value.kind, model, value.key, value.parent, value.ids, value.rows, value.open},
              bytes);
  seal_value(bytes);
  return bytes;
}

TEST(Store, WrongValuesAreMissesAndDropped) {
  const TestDirectory directory;
  const StoreOptions options = test_options(directory.path());
  put_all(*opened(options), 0, 6);
  const auto key = [](uint64_t i) { return EntryKey{StoredKind::block, test_value(i, 1).key}; };
  tamper(directory.path(), [&](Database::Batch& batch) {
    std::vector<std::byte> flipped = value_of(test_value(0, 4096), options.fingerprint);
    flipped[1000] ^= std::byte{1};
    batch.put_value(key(0), flipped);
    std::vector<std::byte> torn = value_of(test_value(1, 4096), options.fingerprint);
    torn.resize(torn.size() / 2);
    batch.put_value(key(1), torn);
    std::vector<std::byte> newer = value_of(test_value(2, 4096), options.fingerprint);
    newer[8] = std::byte{kStoreVersion + 1};
    seal_value(newer);
    batch.put_value(key(2), newer);
    batch.put_value(key(3), value_of(test_value(4, 4096), options.fingerprint));
    batch.put_value(key(4), {});
  });
  const auto store = opened(options);
  for (uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(test_value(i, 4096).get(*store), Got::missed) << i;
    EXPECT_FALSE(test_value(i, 4096).has(*store)) << i;
    EXPECT_NE(store->stats().last_problem, "");
  }
  EXPECT_EQ(test_value(5, 4096).get(*store), Got::right);
  const StoreStats stats = store->stats();
  EXPECT_EQ(misses(stats, StoreMiss::checksum), 1u);
  EXPECT_EQ(misses(stats, StoreMiss::torn), 2u);
  EXPECT_EQ(misses(stats, StoreMiss::version), 1u);
  EXPECT_EQ(misses(stats, StoreMiss::other_key), 1u);
  put_all(*store, 0, 5);
  ASSERT_TRUE(store->flush());
  for (uint64_t i = 0; i < 6; ++i) EXPECT_EQ(test_value(i, 4096).get(*store), Got::right);
}

TEST(Store, ValuesOfAnotherVersionAreLeftAlone) {
  const TestDirectory directory;
  const StoreOptions options = test_options(directory.path());
  put_all(*opened(options), 0, 2);
  const EntryKey key{StoredKind::block, test_value(0, 1).key};
  tamper(directory.path(), [&](Database::Batch& batch) {
    batch.put_record(key, {.version = kStoreVersion + 1,
                           .n_ids = 128,
                           .n_tokens = 128,
                           .value_bytes = 5000,
                           .fingerprint = options.fingerprint,
                           .parent = test_value(0, 1).parent});
    std::vector<std::byte> newer = value_of(test_value(0, 4096), options.fingerprint);
    newer[8] = std::byte{kStoreVersion + 1};
    batch.put_value(key, newer);
  });
  const auto store = opened(options);
  EXPECT_FALSE(test_value(0, 4096).has(*store));
  EXPECT_EQ(test_value(0, 4096).get(*store), Got::missed);
  EXPECT_EQ(misses(store->stats(), StoreMiss::version), 1u);
  EXPECT_EQ(store->stats().foreign, 1u) << "it is still there";
}

TEST(Store, DamagedRecordsLoseTheirValuesAndNoMore) {
  const TestDirectory directory;
  const StoreOptions options = test_options(directory.path());
  put_all(*opened(options), 0, 6);
  tamper(directory.path(), [&](Database::Batch& batch) {
    // The record of another key.
    batch.put_model(test_value(5, 1).key, "not a record");
    ValueRecord wrong{.kind = StoredKind::point, .fingerprint = {}, .parent = {}};
    batch.put_record({StoredKind::block, test_value(0, 1).key}, wrong);
  });
  const auto store = opened(options);
  EXPECT_FALSE(store->stats().notes.empty());
  EXPECT_EQ(test_value(0, 4096).get(*store), Got::missed);
  for (uint64_t i = 1; i < 6; ++i) EXPECT_EQ(test_value(i, 4096).get(*store), Got::right);
}

TEST(Store, AFullQueueDropsAndNeverWaits) {
  const TestDirectory directory;
  StoreOptions options = test_options(directory.path(), 1 << 20);
  options.queue_bytes = size_t{3} << 20;
  const auto store = opened(options);
  constexpr uint64_t kMany = 60;
  std::vector<TestValue> values;  // each the beginning of a chain
  for (uint64_t i = 0; i < kMany; ++i) values.push_back(test_value(0, 1 << 20, i));
  uint64_t accepted = 0;
  for (const TestValue& value : values) accepted += value.put(*store) ? 1 : 0;
  ASSERT_TRUE(store->flush());
  const StoreStats stats = store->stats();
  EXPECT_GE(accepted, 2u);
  EXPECT_EQ(stats.accepted, accepted);
  EXPECT_EQ(stats.acknowledged, accepted);
  EXPECT_EQ(stats.dropped, kMany - accepted);
  for (const TestValue& value : values) {
    EXPECT_EQ(value.get(*store), value.has(*store) ? Got::right : Got::missed);
  }
}

TEST(WriteQueue, IsARing) {
  WriteQueue queue(100);
  const auto key = [](uint64_t i) { return EntryKey{StoredKind::block, test_digest(9, i)}; };
  EXPECT_FALSE(queue.push(key(0), 101));
  Rng rng(4);
  uint64_t first = 0;
  uint64_t next = 0;
  for (int step = 0; step < 20'000; ++step) {
    const size_t n = 1 + rng.below(40);
    if (const auto room = queue.push(key(next), n)) {
      std::fill(room->begin(), room->end(), static_cast<std::byte>(next));
      if (rng.below(8) == 0) {
        queue.undo_push();
      } else {
        ++next;
      }
    } else {
      ASSERT_FALSE(queue.empty());
    }
    if (rng.below(2) == 0 && !queue.empty()) {
      queue.pop(1);
      ++first;
    }
    uint64_t i = first;
    size_t bytes = 0;
    for (const auto& item : queue.items()) {
      ASSERT_EQ(item.key, key(i));
      bytes += item.value.size();
      for (const std::byte byte : item.value) ASSERT_EQ(byte, static_cast<std::byte>(i));
      ++i;
    }
    ASSERT_EQ(i, next);
    ASSERT_EQ(bytes, queue.bytes());
  }
  EXPECT_GT(next, 5000u);
}

// A chain of 9 values, by number.
TestValue of_chain(uint64_t i, size_t rows_bytes) {
  return test_value(i % 9, rows_bytes, 1000 + i / 9);
}

TEST(Store, KeepsToItsBudget) {
  const TestDirectory directory;
  constexpr size_t kRows = 32 << 10;
  StoreOptions options = test_options(directory.path(), kRows);
  options.budget_bytes = uint64_t{4} << 20;
  options.queue_bytes = size_t{1} << 20;
  constexpr uint64_t kValues = 630;  // 22 MB
  uint64_t most = 0;
  {
    const auto store = opened(options);
    for (uint64_t i = 0; i < kValues; ++i) {
      if (!of_chain(i, kRows).put(*store)) {
        ASSERT_TRUE(store->flush());
        ASSERT_TRUE(of_chain(i, kRows).put(*store)) << i;
      }
      if (i % 9 != 8) continue;
      ASSERT_TRUE(store->flush());
      most = std::max(most, directory_bytes(directory.path()));
      // One chain is read again and again.
      EXPECT_EQ(of_chain(5, kRows).get(*store), Got::right) << i;
    }
    ASSERT_TRUE(store->flush());
    const StoreStats stats = store->stats();
    EXPECT_GT(stats.evicted, kValues / 2);
    EXPECT_LE(stats.value_bytes, options.budget_bytes / 4 * 3);
    EXPECT_GE(stats.value_bytes, options.budget_bytes / 2);
    EXPECT_EQ(stats.last_problem, "");
  }
  EXPECT_LE(most, options.budget_bytes);
  EXPECT_GE(most, options.budget_bytes / 2);
  const auto store = opened(options);
  uint64_t n = 0;
  for (uint64_t i = 0; i < kValues; ++i) {
    const TestValue value = of_chain(i, kRows);
    if (!value.has(*store)) continue;
    ++n;
    EXPECT_EQ(value.get(*store), Got::right) << i;
    EXPECT_TRUE(value.parent == Digest{} || store->has_block(value.parent)) << i;
  }
  EXPECT_EQ(n, store->stats().blocks + store->stats().points);
}

TEST(Store, KeepsTheBeginningOfWhatIsTooLong) {
  const TestDirectory directory;
  constexpr size_t kRows = 64 << 10;
  StoreOptions options = test_options(directory.path(), kRows);
  options.budget_bytes = uint64_t{8} << 20;
  options.queue_bytes = size_t{1} << 20;
  const auto store = opened(options);
  for (uint64_t i = 0; i < 150; ++i) {
    test_value(i, kRows).put(*store);
    ASSERT_TRUE(store->flush());
    ASSERT_LE(directory_bytes(directory.path()), options.budget_bytes);
  }
  uint64_t there = 0;
  for (uint64_t i = 0; i < 150; ++i) {
    const TestValue value = test_value(i, kRows);
    if (value.kind == StoredKind::point) continue;
    if (!value.has(*store)) break;
    ++there;
  }
  EXPECT_GE(there, 50u);
  EXPECT_EQ(there, store->stats().blocks) << "nothing lies behind a hole";
  EXPECT_GT(store->stats().orphans, 30u);
}

TEST(Store, WhatNobodyWouldFindIsNotTaken) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  EXPECT_FALSE(test_value(1, 4096).put(*store));
  EXPECT_EQ(store->stats().orphans, 1u);
  EXPECT_TRUE(test_value(0, 4096).put(*store));
  EXPECT_TRUE(test_value(1, 4096).put(*store));
}

TEST(Store, ReuseIsKeptOverARestart) {
  const TestDirectory directory;
  StoreOptions options = test_options(directory.path(), 64 << 10);
  options.budget_bytes = uint64_t{8} << 20;
  options.queue_bytes = size_t{1} << 20;
  const auto leaf = [](uint64_t i) {  // each a chain of its own
    TestValue value = test_value(0, 64 << 10, 100 + i);
    return value;
  };
  {
    const auto store = opened(options);
    for (uint64_t i = 0; i < 50; ++i) {
      ASSERT_TRUE(leaf(i).put(*store)) << i;
      ASSERT_TRUE(store->flush());
    }
    for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(leaf(i).get(*store), Got::right);
  }
  const auto store = opened(options);
  for (uint64_t i = 50; i < 140; ++i) {
    ASSERT_TRUE(leaf(i).put(*store)) << i;
    ASSERT_TRUE(store->flush());
  }
  for (uint64_t i = 0; i < 10; ++i) EXPECT_TRUE(leaf(i).has(*store)) << i;
  for (uint64_t i = 10; i < 40; ++i) EXPECT_FALSE(leaf(i).has(*store)) << i;
}

TEST(Store, IsUsedByOneProcessAtATime) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  const auto second = Store::open(test_options(directory.path()));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::usage);
  EXPECT_NE(second.error().message.find("in use by another process"), std::string::npos);
}

TEST(Store, LeavesOtherDirectoriesAlone) {
  const TestDirectory directory;
  fs::create_directories(directory.path("mine/db"));
  std::ofstream(directory.path("mine/db/CURRENT")) << "MANIFEST-000001\n";
  const auto refused = Store::open(test_options(directory.path("mine")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::usage);
  EXPECT_NE(refused.error().message.find("expected a store"), std::string::npos);
  EXPECT_EQ(std::distance(fs::recursive_directory_iterator(directory.path("mine")), {}), 2);

  std::ofstream(directory.path("file")) << "mine";
  EXPECT_EQ(Store::open(test_options(directory.path("file"))).error().kind, ErrorKind::usage);
  EXPECT_EQ(open_store_files(directory.path("none"), StoreDirectory::Missing::refuse, 1 << 20)
                .error()
                .kind,
            ErrorKind::bad_input);
  EXPECT_FALSE(fs::exists(directory.path("none")));
}

TEST(Store, RefusesSizesThatCannotBeHonoured) {
  const TestDirectory directory;
  StoreOptions options = test_options(directory.path(), 1 << 20);
  options.queue_bytes = 1 << 20;
  EXPECT_EQ(Store::open(options).error().kind, ErrorKind::usage);
  options = test_options(directory.path(), 1 << 20);
  options.budget_bytes = 8 << 20;
  EXPECT_EQ(Store::open(options).error().kind, ErrorKind::usage);
  EXPECT_FALSE(fs::exists(directory.path()));
}

TEST(Store, TellsStatsToOtherThreads) {
  const TestDirectory directory;
  const auto store = opened(test_options(directory.path()));
  std::atomic<bool> done = false;
  uint64_t most_queued = 0;
  std::thread watcher([&] {
    while (!done) {
      const StoreStats stats = store->stats();
      EXPECT_GE(stats.accepted, stats.acknowledged);
      most_queued = std::max(most_queued, stats.queued);
    }
  });
  put_all(*store, 0, 500);
  for (uint64_t i = 0; i < 500; ++i) EXPECT_EQ(test_value(i, 4096).get(*store), Got::right);
  EXPECT_TRUE(store->flush());
  done = true;
  watcher.join();
  EXPECT_EQ(store->stats().queued, 0u);
  EXPECT_EQ(store->stats().queued_bytes, 0u);
}

}  // namespace
}  // namespace varve
