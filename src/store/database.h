// RocksDB, as far as the store needs it: values and their records, written together in synced
// batches, read by key, and compacted so that the disk shrinks.
//
// Values lie in blob files, which no compaction rewrites but those that reclaim() asks for; records
// lie in a table of their own. Nothing that RocksDB or the C++ library throws leaves this file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "store/index.h"

namespace varve {

struct DatabaseError {
  bool is_damage = false;  // of what lies on the disk: the database has to be made anew
  std::string message;
};

template <class T>
using DatabaseResult = tl::expected<T, DatabaseError>;

struct DatabaseOptions {
  std::string path;
  size_t write_buffer_bytes = 0;  // of new values in memory, twice while one is written out
};

class Database {
 public:
  /// Makes it where there is none.
  static DatabaseResult<std::unique_ptr<Database>> open(const DatabaseOptions& options);
  ~Database();

  /// Memory that an open database takes besides two write buffers and the batches.
  static constexpr size_t kMemoryBytes = size_t{24} << 20;

  /// What is written as one: all of it or nothing, in the order in which it was added.
  class Batch {
   public:
    void remove(const EntryKey& key);
    void put_value(const EntryKey& key, std::span<const std::byte> value);
    void put_record(const EntryKey& key, const ValueRecord& record);
    void put_model(const Digest& fingerprint, const std::string& description);

   private:
    friend class Database;
    struct Impl;
    explicit Batch(Impl& impl) : impl_(impl) {}
    Impl& impl_;
  };
  /// Writes what `fill` adds; returns when it is on the disk. `expected_bytes`: of values.
  DatabaseResult<void> write(size_t expected_bytes, const std::function<void(Batch&)>& fill);

  /// Calls `use` with the value's bytes. Reasons: absent, unreadable.
  tl::expected<void, StoreMiss> read(const EntryKey& key,
                                     const std::function<void(std::span<const std::byte>)>& use);

  /// What the reads that failed have shown so far, in RocksDB's words; empty: nothing but values
  /// are damaged. Of a damaged table values are lost to reads that are whole in their files.
  std::string damaged_table() const;

  /// Visits the records that hold, and returns the keys of those that do not.
  DatabaseResult<std::vector<EntryKey>> for_each_record(
      const std::function<void(const EntryKey&, const ValueRecord&)>& visit);
  struct Model {
    Digest fingerprint;
    std::string description;
  };
  DatabaseResult<std::vector<Model>> models();

  /// Rewrites the oldest files that hold what was removed until the database takes at most
  /// `target_bytes` or holds nothing that was removed. About `step_bytes` of values are there twice
  /// meanwhile; between steps it looks whether it is to `stop`.
  DatabaseResult<void> reclaim(uint64_t target_bytes, uint64_t step_bytes,
                               const std::atomic<bool>* stop = nullptr);
  /// Bytes of values that were removed and still lie in files.
  uint64_t garbage_bytes();
  uint64_t disk_bytes() const;
  const std::string& path() const { return path_; }
  /// What was wrong with the log, or else what RocksDB warned of, when it was opened: empty, or
  /// RocksDB's words.
  const std::string& opening_note() const { return opening_note_; }

 private:
  struct Impl;
  Database(std::string path, std::string note, std::unique_ptr<Impl> impl);

  std::string path_;
  std::string opening_note_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace varve
