#include "store/maintenance.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "store/salvage.h"

namespace varve {
namespace {

constexpr size_t kBatchBytes = size_t{4} << 20;
constexpr size_t kKeysPerBatch = 4096;

Result<void> as_result(const StoreFiles& files, const DatabaseResult<void>& done) {
  if (done) return {};
  return fail(ErrorKind::internal, "{}: {}", files.directory.path(), done.error().message);
}

// What is wrong with a value beside what is known of it.
std::optional<StoreMiss> problem_of(const StoreFiles& files, const StoreIndex::Entry& entry,
                                    std::span<const std::byte> bytes) {
  const auto value = parse_value(bytes);
  if (!value) return value.error();
  const ValueRecord record = files.index.record(entry);
  if (value->fingerprint != record.fingerprint) return StoreMiss::other_model;
  if (value->kind != record.kind || value->key != entry.key().digest) return StoreMiss::other_key;
  if (value->parent != record.parent) return StoreMiss::other_parent;
  if (value->ids.size() != record.n_ids * sizeof(int32_t)) return StoreMiss::other_ids;
  if (bytes.size() != record.value_bytes) return StoreMiss::other_size;
  return std::nullopt;
}

Result<void> remove_keys(StoreFiles& files, const std::vector<StoreIndex::Victim>& victims) {
  for (size_t begin = 0; begin < victims.size(); begin += kKeysPerBatch) {
    const size_t end = std::min(victims.size(), begin + kKeysPerBatch);
    const auto written = files.database->write(0, [&](Database::Batch& batch) {
      for (size_t i = begin; i < end; ++i) batch.remove(victims[i].key);
    });
    VARVE_CHECKED(as_result(files, written));
  }
  return {};
}

// Fills one batch; returns what is in it.
std::vector<std::pair<EntryKey, ValueRecord>> fill(StoreFiles& files, Salvage& salvage,
                                                   Database::Batch& batch) {
  std::vector<std::pair<EntryKey, ValueRecord>> found;
  for (size_t bytes = 0; bytes < kBatchBytes;) {
    const auto value = salvage.next();
    if (!value) break;
    auto [key, record] = described(*value);
    if (files.index.find(key) != nullptr) continue;
    files.index.stamp(record);
    batch.put_value(key, *value);
    batch.put_record(key, record);
    bytes += value->size();
    found.emplace_back(key, record);
  }
  return found;
}

}  // namespace

Verification verify(StoreFiles& files, const std::function<void(uint64_t)>& progress) {
  Verification result;
  files.index.for_each([&](const StoreIndex::Entry& entry) {
    ++result.values;
    result.bytes += entry.value_bytes;
    if (entry.version != kStoreVersion) {
      ++result.other_versions;
      return;
    }
    std::optional<StoreMiss> problem;
    const auto read = files.database->read(entry.key(), [&](std::span<const std::byte> bytes) {
      problem = problem_of(files, entry, bytes);
    });
    if (!read) problem = read.error();
    if (problem) result.problems.push_back({entry.key(), *problem});
    progress(result.bytes);
  });
  for (const EntryKey& key : files.damaged) {
    result.problems.push_back({key, StoreMiss::unreadable});
  }
  return result;
}

Result<uint64_t> take_over(StoreFiles& files) {
  const std::vector<std::string> set_aside = files.directory.set_aside();
  Salvage salvage(set_aside);
  uint64_t n = 0;
  while (salvage.bytes_left() > 0) {
    std::vector<std::pair<EntryKey, ValueRecord>> found;
    const auto written = files.database->write(
        kBatchBytes, [&](Database::Batch& batch) { found = fill(files, salvage, batch); });
    VARVE_CHECKED(as_result(files, written));
    for (const auto& [key, record] : found) {
      files.index.add(key, record, StoreIndex::State::stored);
    }
    n += found.size();
    salvage.delete_read_files();
  }
  for (const std::string& path : set_aside) {
    VARVE_CHECKED(files.directory.remove_set_aside(path));
  }
  return n;
}

Result<uint64_t> remove_trees(StoreFiles& files, const std::vector<EntryKey>& roots) {
  uint64_t n = 0;
  for (const EntryKey& key : roots) {
    StoreIndex::Entry* const root = files.index.find(key);
    const bool is_known = root != nullptr;
    // One that is not in the index hung below another one, or its record does not hold.
    const std::vector<StoreIndex::Victim> victims =
        is_known ? files.index.remove_tree(*root) : std::vector{StoreIndex::Victim{key}};
    VARVE_CHECKED(remove_keys(files, victims));
    if (is_known) n += victims.size();
  }
  return n;
}

Result<uint64_t> evict_down_to(StoreFiles& files, uint64_t bytes) {
  const uint64_t present = files.index.totals().bytes;
  if (present <= bytes) return uint64_t{0};
  const std::vector<StoreIndex::Victim> victims = files.index.evict(present - bytes, 0);
  VARVE_CHECKED(remove_keys(files, victims));
  return uint64_t{victims.size()};
}

Result<void> shrink(StoreFiles& files) {
  const uint64_t step = files.index.totals().bytes / 64;
  const auto done = files.database->reclaim(0, step);
  if (done || !done.error().is_damage) return as_result(files, done);
  VARVE_CHECKED(replace_database(files, kMaintenanceBufferBytes, done.error().message));
  VARVE_CHECKED(take_over(files));
  return {};
}

}  // namespace varve
