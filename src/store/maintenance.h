// What is done to a store beside running from it: looking through it, and making it smaller.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/files.h"

namespace varve {

/// A store's write buffer for this.
inline constexpr size_t kMaintenanceBufferBytes = size_t{8} << 20;

struct Verification {
  uint64_t values = 0;
  uint64_t bytes = 0;
  uint64_t other_versions = 0;  // of those, not looked into
  struct Problem {
    EntryKey key;
    StoreMiss reason;
  };
  std::vector<Problem> problems;
};

/// Reads every value and holds it against its checksum and what is known of it. `progress` is told
/// of bytes as they are read.
Verification verify(StoreFiles& files, const std::function<void(uint64_t)>& progress);

/// Takes what is whole out of databases that were set aside, and deletes those. Returns how many
/// values it took.
Result<uint64_t> take_over(StoreFiles& files);

/// Removes entries with all that hangs below them. Returns how many values went.
Result<uint64_t> remove_trees(StoreFiles& files, const std::vector<EntryKey>& roots);
/// Evicts until values take at most so many bytes.
Result<uint64_t> evict_down_to(StoreFiles& files, uint64_t bytes);
/// Makes the files as small as they can be. Where that finds the database to be damaged, a new one
/// takes over what is whole.
Result<void> shrink(StoreFiles& files);

}  // namespace varve
