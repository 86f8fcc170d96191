#include "store/store.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <system_error>
#include <utility>

namespace varve {
namespace {

// Of the budget: values may take three quarters of it, and are evicted down to a little less. The
// rest is for the log, for what was removed and still lies in files, and for what is written twice
// while those are rewritten. Files are looked at each time another hundredth was written.
// What is put while the writer evicts may go over by a sixteenth.
constexpr uint64_t kLeastBudgetInValues = 16;  // of the largest
constexpr uint64_t kLeastBudgetInQueues = 4;   // what is queued cannot be evicted
constexpr uint64_t kLeastBudgetBytes = uint64_t{4} << 20;

uint64_t most_value_bytes(uint64_t budget) {
  return budget / 4 * 3;
}
uint64_t value_bytes_wall(uint64_t budget) {
  return budget / 16 * 13;
}
uint64_t value_bytes_after_eviction(uint64_t budget) {
  return budget / 64 * 45;
}
uint64_t most_disk_bytes(uint64_t budget) {
  return budget / 8 * 7;
}
uint64_t disk_bytes_after_reclaim(uint64_t budget) {
  return budget / 16 * 13;
}
uint64_t reclaim_step_bytes(uint64_t budget) {
  return budget / 64;
}
uint64_t measure_every_bytes(uint64_t budget) {
  return budget / 128;
}

constexpr size_t kBlockIds = 128;
constexpr size_t kLeastWriteBuffer = size_t{64} << 10;
constexpr size_t kMostWriteBuffer = size_t{32} << 20;
// Written as one, unless a single value is more.
constexpr size_t kBatchBytes = size_t{4} << 20;
constexpr size_t kRecordsPerBatch = 4096;
constexpr size_t kMostUpdates = size_t{1} << 16;  // records that wait to be written again
constexpr int kMostTimesAnew = 3;
constexpr uint64_t kLeastEntries = 4096;
constexpr uint64_t kMostEntries = uint64_t{1} << 20;

size_t largest_value(const StoreOptions& options) {
  return value_bytes(kBlockIds, std::max(options.block_bytes, options.point_bytes));
}

size_t write_buffer_bytes(const StoreOptions& options) {
  const auto share = static_cast<size_t>(
      std::clamp<uint64_t>(options.budget_bytes / 512, kLeastWriteBuffer, kMostWriteBuffer));
  return std::max(share, largest_value(options));
}

// More than fit of blocks and points alone, so that only a store of much smaller values (other
// models') comes to it.
uint64_t max_entries(const StoreOptions& options) {
  const uint64_t least = std::max<uint64_t>(1, std::min(options.block_bytes, options.point_bytes));
  return std::clamp(2 * (options.budget_bytes / least), kLeastEntries, kMostEntries);
}

Result<void> check(const StoreOptions& options) {
  const size_t largest = largest_value(options);
  if (options.queue_bytes < largest) {
    return usage_error("the store's queue: expected at least {} bytes, one value, found {}",
                       largest, options.queue_bytes);
  }
  const uint64_t least = std::max({kLeastBudgetBytes, kLeastBudgetInValues * largest,
                                   kLeastBudgetInQueues * options.queue_bytes});
  if (options.budget_bytes < least) {
    return usage_error(
        "the store's budget: expected at least {} bytes beside a queue of {} and values of {}, "
        "found {}",
        least, options.queue_bytes, largest, options.budget_bytes);
  }
  return {};
}

std::string short_name(const EntryKey& key) {
  return fmt::format("{} {}", kind_name(key.kind), hex(key.digest).substr(0, 12));
}

}  // namespace

// What the writer has in hand.
struct Store::Work {
  std::vector<WriteQueue::Item> items;  // the first of the queue
  size_t item_bytes = 0;
  std::vector<EntryKey> removals;
  std::vector<std::pair<EntryKey, ValueRecord>> records;  // of items and of changed entries
  bool describe = false;
  uint64_t flushes = 0;  // asked for before it was taken
};

Result<std::unique_ptr<Store>> Store::open(const StoreOptions& options) {
  VARVE_CHECKED(check(options));
  VARVE_TRY(StoreFiles files, open_store_files(options.directory, StoreDirectory::Missing::create,
                                               write_buffer_bytes(options)));
  try {
    return std::unique_ptr<Store>(new Store(options, std::move(files)));
  } catch (const std::bad_alloc&) {
    return usage_error("the store's queue: there is no memory for {} bytes", options.queue_bytes);
  } catch (const std::system_error& error) {
    return usage_error("the store cannot have a thread: {}", error.what());
  }
}

size_t Store::memory_bytes(const StoreOptions& options) {
  const size_t largest = largest_value(options);
  const size_t batch = std::max(kBatchBytes, largest);
  // Two buffers of new values, each of which may go over by a batch; the batch itself; a record of
  // a damaged log; a value as it is read, and as one is rewritten.
  return options.queue_bytes + 2 * (write_buffer_bytes(options) + batch) + 2 * batch + 2 * largest +
         Database::kMemoryBytes +
         static_cast<size_t>(max_entries(options)) * StoreIndex::kEntryBytes;
}

Store::Store(const StoreOptions& options, StoreFiles files)
    : options_(options),
      write_buffer_bytes_(write_buffer_bytes(options)),
      max_entries_(max_entries(options)),
      files_(std::move(files)),
      queue_(options.queue_bytes) {
  stats_.budget_bytes = options_.budget_bytes;
  stats_.notes = files_.notes;
  to_remove_ = std::move(files_.damaged);
  model_ = files_.index.model(options_.fingerprint);
  is_described_ = std::any_of(files_.models.begin(), files_.models.end(), [&](const auto& model) {
    return model.fingerprint == options_.fingerprint && model.description == options_.description;
  });
  unmeasured_bytes_ = options_.budget_bytes;  // look at once
  salvage_ = Salvage(files_.directory.set_aside());
  stats_.salvage_bytes = salvage_.bytes_left();
  writer_ = std::thread([this] { run(); });
}

Store::~Store() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  writer_.join();
}

// ---- what the engine calls ----

bool Store::is_usable(const StoreIndex::Entry& entry) const {
  return entry.model == model_ && entry.version == kStoreVersion;
}

bool Store::put(const StoredBlock& block) {
  return put_value({.kind = StoredKind::block,
                    .fingerprint = options_.fingerprint,
                    .key = block.key,
                    .parent = block.parent,
                    .ids = block.ids,
                    .rows = block.rows,
                    .open = {}},
                   static_cast<uint32_t>(block.ids.size()));
}

bool Store::put(const StoredPoint& point) {
  return put_value({.kind = StoredKind::point,
                    .fingerprint = options_.fingerprint,
                    .key = point.key,
                    .parent = point.parent,
                    .ids = point.tail_ids,
                    .rows = point.detail,
                    .open = point.open_block,
                    .ranges = point.ranges},
                   point.saved_tokens);
}

bool Store::put_value(const ValueParts& parts, uint32_t n_tokens) {
  const EntryKey key{parts.kind, parts.key};
  {
    const std::lock_guard lock(mutex_);
    StoreIndex::Entry* const before = files_.index.find(key);
    if (before != nullptr && is_usable(*before)) {
      used(*before);
      ++stats_.already_there;
      return false;
    }
    if (!is_welcome(parts) || !enqueue(parts, n_tokens)) return false;
  }
  wake_.notify_one();
  return true;
}

bool Store::is_welcome(const ValueParts& parts) {
  if (is_off_) {
    ++stats_.failed;
    return false;
  }
  const StoreIndex::Entry* const parent = files_.index.find({StoredKind::block, parts.parent});
  if (parts.parent != options_.root && (parent == nullptr || !is_usable(*parent))) {
    ++stats_.orphans;
    return false;
  }
  return true;
}

void Store::used(StoreIndex::Entry& entry) {
  if (!entry.changed && to_update_.size() < kMostUpdates) to_update_.push_back(entry.key());
  files_.index.touch(entry);
}

bool Store::enqueue(const ValueParts& parts, uint32_t n_tokens) {
  const EntryKey key{parts.kind, parts.key};
  const size_t bytes =
      value_bytes(parts.ids.size(), bytes_in(parts.ranges, parts.rows.size()) + parts.open.size());
  const bool is_over =
      files_.index.totals().bytes + bytes > value_bytes_wall(options_.budget_bytes);
  const auto room = is_over ? std::nullopt : queue_.push(key, bytes);
  if (!room) {
    ++stats_.dropped;
    return false;
  }
  ValueRecord record{.kind = parts.kind,
                     .n_ids = static_cast<uint32_t>(parts.ids.size()),
                     .n_tokens = n_tokens,
                     .value_bytes = bytes,
                     .fingerprint = parts.fingerprint,
                     .parent = parts.parent};
  files_.index.stamp(record);
  try {
    files_.index.add(key, record, StoreIndex::State::queued);
  } catch (const std::bad_alloc&) {
    queue_.undo_push();
    ++stats_.dropped;
    return false;
  }
  write_value(parts, *room);
  ++stats_.accepted;
  return true;
}

bool Store::has(const EntryKey& key) const {
  const std::lock_guard lock(mutex_);
  const StoreIndex::Entry* const entry = files_.index.find(key);
  return entry != nullptr && is_usable(*entry);
}

bool Store::has_block(const Digest& key) const {
  return has({StoredKind::block, key});
}

bool Store::has_point(const Digest& key) const {
  return has({StoredKind::point, key});
}

void Store::for_each_point(const Digest& parent,
                           const std::function<void(const Digest& key, int n_tail)>& visit) const {
  const std::lock_guard lock(mutex_);
  files_.index.for_each_child(parent, [&](const StoreIndex::Entry& entry) {
    if (entry.key().kind == StoredKind::point && is_usable(entry)) {
      visit(entry.key().digest, static_cast<int>(entry.n_ids));
    }
  });
}

bool Store::get_block(const Digest& key, const Digest& parent, std::span<const int32_t> ids,
                      std::span<std::byte> rows) {
  return get_value({StoredKind::block, options_.fingerprint, key, parent, ids}, rows, {});
}

bool Store::get_point(const Digest& key, const Digest& parent, std::span<const int32_t> tail_ids,
                      std::span<std::byte> detail, std::span<std::byte> open_block,
                      std::span<const ByteRange> ranges) {
  return get_value({StoredKind::point, options_.fingerprint, key, parent, tail_ids, ranges}, detail,
                   open_block);
}

bool Store::get_value(const ExpectedValue& expected, std::span<std::byte> rows,
                      std::span<std::byte> open) {
  const EntryKey key{expected.kind, expected.key};
  tl::expected<void, StoreMiss> copied = tl::unexpected(StoreMiss::absent);
  const auto copy_if_right = [&](std::span<const std::byte> bytes, Checksum checksum) {
    const auto value = parse_value(bytes, checksum);
    copied = value ? copy_value(*value, expected, rows, open) : tl::unexpected(value.error());
  };
  bool is_on_disk = false;
  std::string table_damage;
  {
    const std::lock_guard lock(mutex_);
    const StoreIndex::Entry* const entry = files_.index.find(key);
    is_on_disk = entry != nullptr && entry->state == StoreIndex::State::stored;
    if (entry != nullptr && !is_on_disk) {
      copy_if_right(queue_.find(key)->value, Checksum::none_yet);
    }
  }
  if (is_on_disk) {
    const std::shared_lock lock(database_mutex_);
    tl::expected<void, StoreMiss> read = tl::unexpected(StoreMiss::unreadable);
    if (files_.database != nullptr) {
      read = files_.database->read(
          key, [&](std::span<const std::byte> bytes) { copy_if_right(bytes, Checksum::check); });
    }
    if (!read) {
      copied = tl::unexpected(read.error());
      if (files_.database != nullptr) table_damage = files_.database->damaged_table();
    }
  }
  const std::lock_guard lock(mutex_);
  if (!copied) {
    if (!table_damage.empty()) {
      table_damage_ = table_damage;
      wake_.notify_one();
    }
    miss(key, copied.error());
    return false;
  }
  ++stats_.hits;
  stats_.hit_bytes += bytes_in(expected.ranges, rows.size()) + open.size();
  if (StoreIndex::Entry* const entry = files_.index.find(key)) used(*entry);
  return true;
}

void Store::miss(const EntryKey& key, StoreMiss reason) {
  ++stats_.misses[static_cast<size_t>(reason)];
  StoreIndex::Entry* const entry = files_.index.find(key);
  if (entry == nullptr) return;  // a plain miss, or one that was evicted meanwhile
  stats_.last_problem = fmt::format("{}: {}", short_name(key), miss_name(reason));
  // What another model, or another version, wrote is theirs. What the caller did not expect may be
  // right for another caller.
  if (!is_usable(*entry) || reason == StoreMiss::other_parent || reason == StoreMiss::other_ids) {
    return;
  }
  // It was written for this model and is not what was written. So that it can be put again; unless
  // the value may be whole, and is about to be taken out of its file:
  if (!table_damage_.empty()) return;
  if (entry->state == StoreIndex::State::stored) drop(*entry, reason);
}

void Store::drop(StoreIndex::Entry& entry, StoreMiss reason) {
  stats_.last_problem =
      fmt::format("{} was dropped: {}", short_name(entry.key()), miss_name(reason));
  to_remove_.push_back(entry.key());
  files_.index.remove(entry);
}

Result<void> Store::flush() {
  Lock lock(mutex_);
  const uint64_t ticket = ++flushes_asked_;
  wake_.notify_one();
  progress_.wait(lock, [&] { return flushes_done_ >= ticket; });
  const std::string failure = std::exchange(last_failure_, {});
  if (failure.empty()) return {};
  return fail(ErrorKind::internal, "{}: not all could be written to the store: {}",
              options_.directory, failure);
}

uint64_t Store::acknowledged() const {
  const std::lock_guard lock(mutex_);
  return stats_.acknowledged;
}

StoreStats Store::stats() const {
  const std::lock_guard lock(mutex_);
  StoreStats stats = stats_;
  const StoreIndex::Totals& totals = files_.index.totals();
  stats.blocks = totals.blocks;
  stats.points = totals.points;
  stats.value_bytes = totals.bytes;
  stats.foreign = totals.count() - files_.index.count_of(model_);
  stats.queued = queue_.items().size();
  stats.queued_bytes = queue_.bytes();
  return stats;
}

// ---- the writer ----

bool Store::has_work() const {
  return !queue_.empty() || flushes_done_ < flushes_asked_ || stats_.salvage_bytes > 0 ||
         !table_damage_.empty() || (!to_remove_.empty() && !are_removals_stuck_);
}

void Store::run() {
  Lock lock(mutex_);
  try {
    make_room();  // the budget may have been larger
    keep_to_budget(lock);
    do {
      wake_.wait(lock, [&] { return has_work() || stopping_; });
      while (has_work() && !is_off_ && !(stopping_ && queue_.empty())) {
        write_some(lock);
        if (queue_.empty() && stats_.salvage_bytes > 0) salvage_some(lock);
      }
      flushes_done_ = flushes_asked_;
      progress_.notify_all();
    } while (!stopping_);
    // What is still to be noted of values that were used, unless the disk does not take it.
    size_t left = SIZE_MAX;
    while (!is_off_ && to_update_.size() + to_remove_.size() < left) {
      left = to_update_.size() + to_remove_.size();
      write_some(lock);
    }
  } catch (const std::exception& error) {  // std::bad_alloc
    if (!lock.owns_lock()) lock.lock();
    turn_off(error.what());
    // Nobody waits for a thread that is gone.
    while (!stopping_) {
      flushes_done_ = flushes_asked_;
      progress_.notify_all();
      wake_.wait(lock, [&] { return stopping_ || flushes_done_ < flushes_asked_; });
    }
  }
}

Store::Work Store::take_work() {
  Work work;
  work.flushes = flushes_asked_;
  for (const WriteQueue::Item& item : queue_.items()) {
    if (!work.items.empty() && work.item_bytes + item.value.size() > kBatchBytes) break;
    work.items.push_back(item);
    work.item_bytes += item.value.size();
    work.records.emplace_back(item.key, files_.index.record(*files_.index.find(item.key)));
  }
  std::move(to_remove_.begin(), to_remove_.end(), std::back_inserter(work.removals));
  to_remove_.clear();
  for (size_t n = 0; !to_update_.empty() && n < kRecordsPerBatch; ++n) {
    StoreIndex::Entry* const entry = files_.index.find(to_update_.back());
    to_update_.pop_back();
    if (entry == nullptr || entry->state != StoreIndex::State::stored) continue;
    entry->changed = false;
    work.records.emplace_back(entry->key(), files_.index.record(*entry));
  }
  work.describe = !is_described_ && !work.items.empty();
  return work;
}

// Evicts where values are over their part of the budget.
void Store::make_room() {
  const StoreIndex::Totals& totals = files_.index.totals();
  const uint64_t most = most_value_bytes(options_.budget_bytes);
  if (totals.bytes <= most && totals.count() <= max_entries_) return;
  const uint64_t after = value_bytes_after_eviction(options_.budget_bytes);
  const uint64_t bytes = totals.bytes > most ? totals.bytes - after : 0;
  const uint64_t count =
      totals.count() > max_entries_ ? totals.count() - max_entries_ / 16 * 15 : 0;
  for (const StoreIndex::Victim& victim : files_.index.evict(bytes, count)) {
    to_remove_.push_back(victim.key);
    ++stats_.evicted;
    stats_.evicted_bytes += victim.value_bytes;
  }
}

void Store::write_some(Lock& lock) {
  if (!table_damage_.empty()) {
    start_anew(lock, std::exchange(table_damage_, {}));
    if (is_off_) return;
  }
  Work work = take_work();
  lock.unlock();
  for (const WriteQueue::Item& item : work.items) seal_value(item.value);
  const auto written = files_.database->write(work.item_bytes, [&](Database::Batch& batch) {
    if (work.describe) batch.put_model(options_.fingerprint, options_.description);
    for (const EntryKey& key : work.removals) batch.remove(key);
    for (const WriteQueue::Item& item : work.items) batch.put_value(item.key, item.value);
    for (const auto& [key, record] : work.records) batch.put_record(key, record);
  });
  lock.lock();
  if (written) {
    done(work);
    keep_to_budget(lock);
  } else if (written.error().is_damage && !(stopping_ && work.items.empty())) {
    start_anew(lock, written.error().message);
  } else {
    failed(work, written.error().message);
  }
  if (queue_.empty() && (to_remove_.empty() || are_removals_stuck_))
    flushes_done_ = std::max(flushes_done_, work.flushes);
  progress_.notify_all();
}

// From here on nothing is written, and what is not queued or read already is a miss.
void Store::turn_off(const std::string& why) {
  is_off_ = true;
  stats_.last_problem = fmt::format("the store is off: {}", why);
  last_failure_ = why;
  for (const WriteQueue::Item& item : queue_.items()) {
    if (StoreIndex::Entry* const entry = files_.index.find(item.key)) files_.index.remove(*entry);
  }
  stats_.failed += queue_.items().size();
  queue_.pop(queue_.items().size());
}

void Store::done(const Work& work) {
  for (const WriteQueue::Item& item : work.items) {
    files_.index.find(item.key)->state = StoreIndex::State::stored;
  }
  queue_.pop(work.items.size());
  stats_.acknowledged += work.items.size();
  stats_.written_bytes += work.item_bytes;
  unmeasured_bytes_ += work.item_bytes;
  is_described_ = is_described_ || work.describe;
  are_removals_stuck_ = false;
  make_room();
}

void Store::failed(Work& work, const std::string& why) {
  for (const WriteQueue::Item& item : work.items) {
    files_.index.remove(*files_.index.find(item.key));
  }
  queue_.pop(work.items.size());
  stats_.failed += work.items.size();
  last_failure_ = why;
  stats_.last_problem = fmt::format("the store could not be written: {}", why);
  std::move(work.removals.begin(), work.removals.end(), std::back_inserter(to_remove_));
  are_removals_stuck_ = true;
}

// What lies on the disk is damaged so that nothing can be written any more: what waits is written
// to an empty database.
void Store::start_anew(Lock& lock, const std::string& why) {
  lock.unlock();
  {
    const std::unique_lock alone(database_mutex_);
    lock.lock();
    std::vector<std::pair<EntryKey, ValueRecord>> waiting;
    for (const WriteQueue::Item& item : queue_.items()) {
      waiting.emplace_back(item.key, files_.index.record(*files_.index.find(item.key)));
    }
    const Result<void> replaced = replace_database(files_, write_buffer_bytes_, why);
    to_remove_.clear();
    to_update_.clear();
    table_damage_.clear();
    stats_.notes = files_.notes;
    is_described_ = false;
    unmeasured_bytes_ = options_.budget_bytes;
    for (const auto& [key, record] : waiting) {
      files_.index.add(key, record, StoreIndex::State::queued);
    }
    salvage_ = Salvage(files_.directory.set_aside());
    stats_.salvage_bytes = salvage_.bytes_left();
    if (!replaced) turn_off(replaced.error().message);
    if (++times_begun_anew_ > kMostTimesAnew) turn_off(why);
  }
}

// ---- what a damaged database still holds ----

// Called while a batch is filled: mutex_ is free.
void Store::salvage_batch(Database::Batch& batch, Salvaged& found) {
  size_t bytes = 0;
  while (bytes < kBatchBytes) {
    const auto value = salvage_.next();
    if (!value) break;
    auto [key, record] = described(*value);
    {
      const std::lock_guard lock(mutex_);
      if (files_.index.find(key) != nullptr || files_.index.totals().bytes + bytes + value->size() >
                                                   most_value_bytes(options_.budget_bytes)) {
        continue;
      }
      files_.index.stamp(record);
    }
    batch.put_value(key, *value);
    batch.put_record(key, record);
    found.emplace_back(key, record);
    bytes += value->size();
  }
}

void Store::salvage_some(Lock& lock) {
  lock.unlock();
  Salvaged found;
  const auto written = files_.database->write(
      kBatchBytes, [&](Database::Batch& batch) { salvage_batch(batch, found); });
  // What could not be written is tried again when the store is opened the next time.
  if (written) salvage_.delete_read_files();
  lock.lock();
  stats_.salvage_bytes = written ? salvage_.bytes_left() : 0;
  if (!written) {
    stats_.last_problem =
        fmt::format("values could not be taken over: {}", written.error().message);
    return;
  }
  for (const auto& [key, record] : found) {
    if (files_.index.find(key) != nullptr) continue;  // put again meanwhile
    files_.index.add(key, record, StoreIndex::State::stored);
    unmeasured_bytes_ += record.value_bytes;
  }
  stats_.salvaged += found.size();
  keep_to_budget(lock);
}

bool Store::remove_oldest_set_aside() {
  const std::vector<std::string> set_aside = files_.directory.set_aside();
  return !set_aside.empty() && files_.directory.remove_set_aside(set_aside.front()).has_value();
}

// Looks at how much the files take, now and then, and frees what was removed where it is too much.
void Store::keep_to_budget(Lock& lock) {
  const uint64_t budget = options_.budget_bytes;
  if (unmeasured_bytes_ < measure_every_bytes(budget)) return;
  unmeasured_bytes_ = 0;
  const bool is_salvaging = stats_.salvage_bytes > 0;
  lock.unlock();
  uint64_t disk = directory_bytes(options_.directory);
  // While values are taken out of it, what was set aside may take the rest of the budget.
  const uint64_t most = is_salvaging ? budget : most_disk_bytes(budget);
  while (disk > most && remove_oldest_set_aside()) {
    disk = directory_bytes(options_.directory);
  }
  DatabaseResult<void> reclaimed;
  if (disk > most_disk_bytes(budget)) {
    reclaimed = files_.database->reclaim(disk_bytes_after_reclaim(budget),
                                         reclaim_step_bytes(budget), &stopping_);
  }
  disk = directory_bytes(options_.directory);
  uint64_t set_aside = 0;
  for (const std::string& path : files_.directory.set_aside()) set_aside += directory_bytes(path);
  lock.lock();
  stats_.disk_bytes = disk;
  stats_.set_aside_bytes = set_aside;
  if (reclaimed) return;
  if (reclaimed.error().is_damage) {
    start_anew(lock, reclaimed.error().message);
  } else {
    stats_.last_problem =
        fmt::format("the store could not be made smaller: {}", reclaimed.error().message);
  }
}

}  // namespace varve
