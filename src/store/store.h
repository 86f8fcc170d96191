// The store: what a model's cache held, kept on disk between runs.
//
// Blocks (rows of 128 tokens) and resume points are put as they come to be, each once, and are
// written by a thread of the store's own: put() copies into a bounded queue and never waits for the
// disk. What is read back is held against everything that is known of it (model, key, parent, token
// ids, sizes, checksum); what is not exactly right is a miss, counted by its reason, and never an
// error. docs/formats/store.md has the bytes, and what survives which accident.
//
// One thread puts and gets; any thread may ask for stats().
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "store/files.h"
#include "store/salvage.h"
#include "store/value.h"
#include "store/write_queue.h"

namespace varve {

struct StoreOptions {
  std::string directory;
  Digest fingerprint = {};    // of the model and its row formats
  Digest root = {};           // the parent of what begins at token 0
  std::string description;    // of the same, for `varve store ls`: "varve-tiny, native rows"
  uint64_t budget_bytes = 0;  // on the disk
  size_t queue_bytes = 0;     // of values that wait to be written
  size_t block_bytes = 0;     // rows of one block
  size_t point_bytes = 0;     // detail and open block of one resume point
};

struct StoredBlock {
  Digest key = {};
  Digest parent = {};
  std::span<const int32_t> ids;  // 128
  std::span<const std::byte> rows;
};

/// What a session goes on from: after the parent block and 0 to 127 more tokens.
struct StoredPoint {
  Digest key = {};
  Digest parent = {};
  std::span<const int32_t> tail_ids;
  std::span<const std::byte> detail;
  std::span<const std::byte> open_block;
  uint32_t saved_tokens = 128;             // that need not be computed again where it is there
  std::span<const ByteRange> ranges = {};  // of detail, what is kept; none: all
};

struct StoreStats {
  uint64_t blocks = 0;  // queued and on disk, of all models
  uint64_t points = 0;
  uint64_t value_bytes = 0;  // of those
  uint64_t foreign = 0;      // of those, values of other models or versions
  uint64_t disk_bytes = 0;   // of files, when they were last looked at
  uint64_t budget_bytes = 0;
  uint64_t set_aside_bytes = 0;  // of damaged databases that lie beside
  uint64_t salvaged = 0;         // values that were taken out of those
  uint64_t salvage_bytes = 0;    // of those, still to be searched for values

  uint64_t accepted = 0;      // puts: taken into the queue
  uint64_t acknowledged = 0;  // of those, on the disk
  uint64_t already_there = 0;
  uint64_t dropped = 0;  // the queue or the budget was full
  uint64_t orphans = 0;  // refused: the parent is not there
  uint64_t failed = 0;   // the disk did not take them
  uint64_t written_bytes = 0;
  uint64_t evicted = 0;
  uint64_t evicted_bytes = 0;
  uint64_t queued = 0;
  uint64_t queued_bytes = 0;

  uint64_t hits = 0;
  uint64_t hit_bytes = 0;
  std::array<uint64_t, kStoreMisses> misses = {};  // by StoreMiss
  std::string last_problem;        // a sentence about the last value, or write, that was not right
  std::vector<std::string> notes;  // sentences: damage that was found when the store was opened
};

class Store {
 public:
  /// Errors: usage: sizes that cannot be honoured, a directory in use by another process or one
  /// that is no store; internal: the system's. A damaged database is no error: see StoreStats.
  static Result<std::unique_ptr<Store>> open(const StoreOptions& options);
  /// Memory that a store with these options takes at most, its queue included.
  static size_t memory_bytes(const StoreOptions& options);
  /// Writes what is queued.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// Copies into the queue. False: it is there already (which counts as a use of it), its parent is
  /// not there (nobody would find it), the queue or the budget is full, or the store is off since
  /// its disk failed; each is counted apart.
  bool put(const StoredBlock& block);
  bool put(const StoredPoint& point);
  /// Whether a value of this model is queued or on disk.
  bool has_block(const Digest& key) const;
  bool has_point(const Digest& key) const;

  /// Fills `rows` where the block is there, and exactly what is expected.
  bool get_block(const Digest& key, const Digest& parent, std::span<const int32_t> ids,
                 std::span<std::byte> rows);
  /// `ranges`: as they were put; what lies between them stays as it is.
  bool get_point(const Digest& key, const Digest& parent, std::span<const int32_t> tail_ids,
                 std::span<std::byte> detail, std::span<std::byte> open_block,
                 std::span<const ByteRange> ranges = {});

  /// The resume points of this model that follow a block, by key and number of tail tokens.
  void for_each_point(const Digest& parent,
                      const std::function<void(const Digest& key, int n_tail)>& visit) const;

  /// Returns when all that was put before is on the disk. Error (internal): a put since the last
  /// flush() failed, with the system's reason.
  Result<void> flush();
  /// Puts that are on the disk: the first so many of those that were accepted, less `failed`.
  uint64_t acknowledged() const;
  StoreStats stats() const;

 private:
  struct Work;
  using Salvaged = std::vector<std::pair<EntryKey, ValueRecord>>;

  Store(const StoreOptions& options, StoreFiles files);

  bool put_value(const ValueParts& parts, uint32_t n_tokens);
  bool is_welcome(const ValueParts& parts);
  bool enqueue(const ValueParts& parts, uint32_t n_tokens);
  bool get_value(const ExpectedValue& expected, std::span<std::byte> rows,
                 std::span<std::byte> open);
  bool has(const EntryKey& key) const;
  bool is_usable(const StoreIndex::Entry& entry) const;
  void used(StoreIndex::Entry& entry);
  void miss(const EntryKey& key, StoreMiss reason);
  void drop(StoreIndex::Entry& entry, StoreMiss reason);

  // The writer's. `lock` is held when they are called and when they return.
  using Lock = std::unique_lock<std::mutex>;
  void run();
  bool has_work() const;
  void write_some(Lock& lock);
  Work take_work();
  void make_room();
  void done(const Work& work);
  void failed(Work& work, const std::string& why);
  void start_anew(Lock& lock, const std::string& why);
  void turn_off(const std::string& why);
  void salvage_some(Lock& lock);
  void salvage_batch(Database::Batch& batch, Salvaged& found);
  void keep_to_budget(Lock& lock);
  bool remove_oldest_set_aside();

  const StoreOptions options_;
  const size_t write_buffer_bytes_;
  const uint64_t max_entries_;

  // The database may be replaced by an empty one while others read: they hold this, shared, and
  // never wait for mutex_ while they do.
  mutable std::shared_mutex database_mutex_;
  StoreFiles files_;  // its index: under mutex_

  mutable std::mutex mutex_;
  std::condition_variable wake_;      // the writer
  std::condition_variable progress_;  // those who wait for it
  WriteQueue queue_;
  Salvage salvage_;                  // the writer's alone
  std::vector<EntryKey> to_remove_;  // from disk: they are no longer in the index
  std::vector<EntryKey> to_update_;  // records that changed
  StoreStats stats_;
  std::string last_failure_;  // since the last flush()
  uint64_t flushes_asked_ = 0;
  uint64_t flushes_done_ = 0;
  uint64_t unmeasured_bytes_ = 0;  // written since disk_bytes was measured
  uint16_t model_ = 0;
  bool is_described_ = false;        // the model's description is on disk
  bool are_removals_stuck_ = false;  // the disk did not take them: they go with the next values
  std::string table_damage_;         // that a read has met; empty: none
  bool is_off_ = false;
  int times_begun_anew_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread writer_;
};

}  // namespace varve
