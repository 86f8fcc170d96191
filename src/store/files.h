// A store's directory, opened: its lock, its database, and the index of what is in it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/database.h"
#include "store/directory.h"
#include "store/index.h"

namespace varve {

struct StoreFiles {
  StoreDirectory directory;
  std::unique_ptr<Database> database;
  StoreIndex index;
  std::vector<Database::Model> models;
  std::vector<EntryKey> damaged;   // values whose records do not hold
  std::vector<std::string> notes;  // sentences: what was found to be damaged and what became of it
};

/// Opens the store, and where its database cannot be read sets that aside and begins an empty one,
/// which is no error. Errors: see StoreDirectory::open; internal: the system's.
Result<StoreFiles> open_store_files(const std::string& directory, StoreDirectory::Missing missing,
                                    size_t write_buffer_bytes);

/// Sets the database aside for `reason` and begins an empty one. The index is empty then.
Result<void> replace_database(StoreFiles& files, size_t write_buffer_bytes,
                              const std::string& reason);

}  // namespace varve
