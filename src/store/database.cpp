#include "store/database.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/metadata.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "store/directory.h"

namespace varve {
namespace {

using rocksdb::ColumnFamilyHandle;
using rocksdb::Slice;
using rocksdb::Status;

constexpr const char* kRecords = "records";
constexpr char kModelTag = 'm';
constexpr size_t kBlockCacheBytes = size_t{4} << 20;
constexpr size_t kRecordBufferBytes = size_t{1} << 20;
constexpr int kOpenFiles = 256;

// 'b' or 'p', then the digest.
using KeyBytes = std::array<char, 1 + sizeof(Digest)>;

KeyBytes key_bytes(char tag, const Digest& digest) {
  KeyBytes bytes;
  bytes[0] = tag;
  std::memcpy(bytes.data() + 1, digest.data(), sizeof(digest));
  return bytes;
}

KeyBytes key_bytes(const EntryKey& key) {
  return key_bytes(key.kind == StoredKind::block ? 'b' : 'p', key.digest);
}

Slice slice(const KeyBytes& key) {
  return {key.data(), key.size()};
}

Slice slice(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(const Slice& slice) {
  return {reinterpret_cast<const std::byte*>(slice.data()), slice.size()};
}

Digest digest_of(const Slice& key) {
  Digest digest;
  std::memcpy(digest.data(), key.data() + 1, sizeof(digest));
  return digest;
}

// Of adding to a batch, which takes nothing but memory. Caught by guarded().
void must(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

bool is_key(const Slice& key) {
  return key.size() == std::tuple_size_v<KeyBytes>;
}

// The disk is full, or the system does not let us: the files are as good as they were.
bool is_failure_of_the_system(const Status& status) {
  if (status.IsNoSpace() || status.IsBusy() || status.IsMemoryLimit() || status.IsAborted() ||
      status.IsShutdownInProgress()) {
    return true;
  }
  if (!status.IsIOError() || status.IsPathNotFound()) return false;
  const std::string text = status.ToString();
  return text.find("No such file") == std::string::npos &&
         text.find("Input/output error") == std::string::npos;
}

tl::unexpected<DatabaseError> error_of(const Status& status) {
  return tl::unexpected(DatabaseError{!is_failure_of_the_system(status), status.ToString()});
}

// Keeps the last thing that RocksDB warns of, and writes no file.
class LastWarning : public rocksdb::Logger {
 public:
  LastWarning() : Logger(rocksdb::WARN_LEVEL) {}

  void Logv(const char* format, va_list arguments) override {
    std::array<char, 512> text;
    std::vsnprintf(text.data(), text.size(), format, arguments);
    const std::lock_guard lock(mutex_);
    text_ = text.data();
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level >= rocksdb::WARN_LEVEL && level != rocksdb::HEADER_LEVEL) Logv(format, arguments);
  }
  void LogHeader(const char*, va_list) override {}

  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

rocksdb::DBOptions database_options(const std::shared_ptr<LastWarning>& log) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.info_log = log;
  options.max_background_jobs = 2;  // one flush, one compaction
  options.max_open_files = kOpenFiles;
  options.max_file_opening_threads = 1;
  options.skip_stats_update_on_db_open = true;
  // Values and records are flushed together: neither is ever ahead of the log without the other.
  options.atomic_flush = true;
  options.allow_fallocate = false;  // the budget counts bytes that are there
  options.max_manifest_file_size = size_t{4} << 20;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.enable_thread_tracking = false;
  return options;
}

rocksdb::ColumnFamilyOptions table_options(const std::shared_ptr<rocksdb::Cache>& cache,
                                           size_t write_buffer_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 2;
  // Tables are small, of keys and places.
  options.target_file_size_base = size_t{8} << 20;
  return options;
}

rocksdb::ColumnFamilyOptions value_options(const std::shared_ptr<rocksdb::Cache>& cache,
                                           size_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options = table_options(cache, write_buffer_bytes);
  options.enable_blob_files = true;
  options.min_blob_size = 0;
  options.blob_file_size = 4 * write_buffer_bytes;
  return options;
}

rocksdb::CompactRangeOptions all_of_it() {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = true;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  options.allow_write_stall = true;
  return options;
}

// Runs `work`, which returns a DatabaseResult; what is thrown in there is an error of the
// machine's.
template <class Work>
auto guarded(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& error) {
    return tl::unexpected(DatabaseError{false, error.what()});
  }
}

}  // namespace

struct Database::Impl {
  mutable std::mutex mutex;
  std::string damaged_table;

  std::shared_ptr<LastWarning> log;
  std::unique_ptr<rocksdb::DB> db;
  ColumnFamilyHandle* values = nullptr;
  ColumnFamilyHandle* records = nullptr;

  ~Impl() {
    if (db == nullptr) return;
    for (ColumnFamilyHandle* const handle : {values, records}) {
      if (handle != nullptr) db->DestroyColumnFamilyHandle(handle);
    }
    const Status closed = db->Close();
    closed.PermitUncheckedError();
  }

  Status open(const DatabaseOptions& options, rocksdb::WALRecoveryMode mode) {
    log = std::make_shared<LastWarning>();
    rocksdb::DBOptions db_options = database_options(log);
    db_options.wal_recovery_mode = mode;
    const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kBlockCacheBytes, 2);
    const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
        {rocksdb::kDefaultColumnFamilyName, value_options(cache, options.write_buffer_bytes)},
        {kRecords, table_options(cache, kRecordBufferBytes)}};
    std::vector<ColumnFamilyHandle*> handles;
    rocksdb::DB* opened = nullptr;
    const Status status = rocksdb::DB::Open(db_options, options.path, families, &handles, &opened);
    db.reset(opened);
    if (!status.ok()) return status;
    values = handles[0];
    records = handles[1];
    return status;
  }

  std::vector<ColumnFamilyHandle*> families() const { return {values, records}; }

  // Blob files, the oldest first.
  std::vector<rocksdb::BlobMetaData> blob_files() const {
    rocksdb::ColumnFamilyMetaData all;
    db->GetColumnFamilyMetaData(values, &all);
    std::sort(all.blob_files.begin(), all.blob_files.end(),
              [](const auto& a, const auto& b) { return a.blob_file_number < b.blob_file_number; });
    return std::move(all.blob_files);
  }

  // Files that nothing refers to any more are deleted now, not some time later.
  Status delete_dead_files() const {
    const Status paused = db->DisableFileDeletions();
    if (!paused.ok()) return paused;
    return db->EnableFileDeletions(true);
  }

  // Drops what was removed from tables; blob files that hold nothing else go. With a cutoff, values
  // in that part of the blob files, from the oldest on, are written anew.
  Status compact(double cutoff) const {
    rocksdb::CompactRangeOptions how = all_of_it();
    how.blob_garbage_collection_policy = cutoff > 0
                                             ? rocksdb::BlobGarbageCollectionPolicy::kForce
                                             : rocksdb::BlobGarbageCollectionPolicy::kDisable;
    how.blob_garbage_collection_age_cutoff = cutoff;
    const Status status = db->CompactRange(how, values, nullptr, nullptr);
    return status.ok() ? delete_dead_files() : status;
  }
};

struct Database::Batch::Impl {
  const Database::Impl& database;
  rocksdb::WriteBatch writes;
};

void Database::Batch::remove(const EntryKey& key) {
  const KeyBytes bytes = key_bytes(key);
  must(impl_.writes.Delete(impl_.database.values, slice(bytes)));
  must(impl_.writes.Delete(impl_.database.records, slice(bytes)));
}

void Database::Batch::put_value(const EntryKey& key, std::span<const std::byte> value) {
  must(impl_.writes.Put(impl_.database.values, slice(key_bytes(key)), slice(value)));
}

void Database::Batch::put_record(const EntryKey& key, const ValueRecord& record) {
  std::array<std::byte, kRecordBytes> bytes;
  write_record(record, key.digest, bytes);
  must(impl_.writes.Put(impl_.database.records, slice(key_bytes(key)), slice(bytes)));
}

void Database::Batch::put_model(const Digest& fingerprint, const std::string& description) {
  must(impl_.writes.Put(impl_.database.records, slice(key_bytes(kModelTag, fingerprint)),
                        description));
}

Database::Database(std::string path, std::string note, std::unique_ptr<Impl> impl)
    : path_(std::move(path)), opening_note_(std::move(note)), impl_(std::move(impl)) {}

Database::~Database() = default;

DatabaseResult<std::unique_ptr<Database>> Database::open(const DatabaseOptions& options) {
  return guarded([&]() -> DatabaseResult<std::unique_ptr<Database>> {
    // First so that anything wrong with the log is told; it ends within a write where a process
    // was killed. Then all of it is read but what is wrong: each value proves itself.
    Status first;
    Status status;
    for (const auto mode : {rocksdb::WALRecoveryMode::kAbsoluteConsistency,
                            rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords}) {
      auto impl = std::make_unique<Impl>();
      status = impl->open(options, mode);
      if (status.ok()) {
        const std::string note = first.ok() ? impl->log->text() : first.ToString();
        return std::unique_ptr<Database>(new Database(options.path, note, std::move(impl)));
      }
      if (is_failure_of_the_system(status)) break;
      first = status;
    }
    return error_of(status);
  });
}

DatabaseResult<void> Database::write(size_t expected_bytes,
                                     const std::function<void(Batch&)>& fill) {
  return guarded([&]() -> DatabaseResult<void> {
    Batch::Impl writes{*impl_, rocksdb::WriteBatch(expected_bytes)};
    Batch batch(writes);
    fill(batch);
    if (writes.writes.Count() == 0) return {};
    rocksdb::WriteOptions how;
    how.sync = true;
    const Status status = impl_->db->Write(how, &writes.writes);
    if (status.ok()) return {};
    // Where the disk was full and no longer is, the next write succeeds.
    if (is_failure_of_the_system(status)) impl_->db->Resume().PermitUncheckedError();
    return error_of(status);
  });
}

tl::expected<void, StoreMiss> Database::read(
    const EntryKey& key, const std::function<void(std::span<const std::byte>)>& use) {
  const auto done = guarded([&]() -> DatabaseResult<Status> {
    rocksdb::PinnableSlice value;
    const Status status =
        impl_->db->Get(rocksdb::ReadOptions(), impl_->values, slice(key_bytes(key)), &value);
    if (status.ok()) use(bytes_of(value));
    const std::string text = status.ok() || status.IsNotFound() ? "" : status.ToString();
    if (text.find(".sst") != std::string::npos) {
      const std::lock_guard lock(impl_->mutex);
      impl_->damaged_table = text;
    }
    return status;
  });
  if (done && done->ok()) return {};
  return tl::unexpected(done && done->IsNotFound() ? StoreMiss::absent : StoreMiss::unreadable);
}

std::string Database::damaged_table() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->damaged_table;
}

DatabaseResult<std::vector<EntryKey>> Database::for_each_record(
    const std::function<void(const EntryKey&, const ValueRecord&)>& visit) {
  return guarded([&]() -> DatabaseResult<std::vector<EntryKey>> {
    std::vector<EntryKey> damaged;
    const std::unique_ptr<rocksdb::Iterator> at(
        impl_->db->NewIterator(rocksdb::ReadOptions(), impl_->records));
    for (at->SeekToFirst(); at->Valid(); at->Next()) {
      if (!is_key(at->key()) || at->key()[0] == kModelTag) continue;
      EntryKey key{at->key()[0] == 'b' ? StoredKind::block : StoredKind::point,
                   digest_of(at->key())};
      const auto record = parse_record(bytes_of(at->value()), key.digest);
      if (record && record->kind == key.kind) {
        visit(key, *record);
      } else {
        damaged.push_back(key);
      }
    }
    if (!at->status().ok()) return error_of(at->status());
    return damaged;
  });
}

DatabaseResult<std::vector<Database::Model>> Database::models() {
  return guarded([&]() -> DatabaseResult<std::vector<Model>> {
    std::vector<Model> found;
    const std::unique_ptr<rocksdb::Iterator> at(
        impl_->db->NewIterator(rocksdb::ReadOptions(), impl_->records));
    for (at->Seek(Slice(&kModelTag, 1)); at->Valid() && at->key()[0] == kModelTag; at->Next()) {
      if (is_key(at->key())) found.push_back({digest_of(at->key()), at->value().ToString()});
    }
    if (!at->status().ok()) return error_of(at->status());
    return found;
  });
}

DatabaseResult<void> Database::reclaim(uint64_t target_bytes, uint64_t step_bytes,
                                       const std::atomic<bool>* stop) {
  return guarded([&]() -> DatabaseResult<void> {
    Status status = impl_->db->Flush(rocksdb::FlushOptions(), impl_->families());
    if (status.ok()) status = impl_->compact(0);
    if (!status.ok()) return error_of(status);
    const auto before = impl_->blob_files();
    const uint64_t last = before.empty() ? 0 : before.back().blob_file_number;
    while (disk_bytes() > target_bytes && garbage_bytes() > 0) {
      if (stop != nullptr && stop->load()) return {};
      const auto files = impl_->blob_files();
      if (files.empty() || files.front().blob_file_number > last) break;  // once round
      size_t n = 0;
      for (uint64_t live = 0; n < files.size() && (n == 0 || live < step_bytes); ++n) {
        live += files[n].total_blob_bytes - files[n].garbage_blob_bytes;
      }
      // RocksDB rounds down: half a file keeps it from being one less.
      const double cutoff =
          std::min(1.0, (static_cast<double>(n) + 0.5) / static_cast<double>(files.size()));
      status = impl_->compact(cutoff);
      if (!status.ok()) return error_of(status);
    }
    const Status records = impl_->db->CompactRange(all_of_it(), impl_->records, nullptr, nullptr);
    if (!records.ok()) return error_of(records);
    return {};
  });
}

uint64_t Database::garbage_bytes() {
  uint64_t sum = 0;
  for (const auto& file : impl_->blob_files()) sum += file.garbage_blob_bytes;
  return sum;
}

uint64_t Database::disk_bytes() const {
  return directory_bytes(path_);
}

}  // namespace varve
