// The directory of a store: whether it is one, who uses it, and what lies in it.
//
//   DIR/VARVE-STORE   says what the directory is
//   DIR/LOCK          held while a process uses the store
//   DIR/db/           the database, and the mark once more
//   DIR/damaged-N/    databases that could not be opened, set aside
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace varve {

class StoreDirectory {
 public:
  enum class Missing { create, refuse };

  /// Takes the store's lock. Errors: usage: another process uses it, or what is there is no store;
  /// bad_input: there is none, with `refuse`; internal: the system's.
  static Result<StoreDirectory> open(const std::string& path, Missing missing);
  StoreDirectory(StoreDirectory&& other) noexcept;
  StoreDirectory& operator=(StoreDirectory&& other) noexcept;
  ~StoreDirectory();

  const std::string& path() const { return path_; }
  std::string database() const { return path_ + "/db"; }
  /// Whether there are files of a database of which none says where it begins, as long as some may
  /// hold values: what a process left that ended while it made a database is deleted.
  bool database_is_headless() const;
  /// Makes the database's directory, if there is none.
  Result<void> make_database() const;

  /// Gives the database a name of its own, so that an empty one can be made in its place, and
  /// returns that.
  Result<std::string> set_database_aside();
  /// Those, the oldest first.
  std::vector<std::string> set_aside() const;
  /// Deletes one of them.
  Result<void> remove_set_aside(const std::string& path);
  /// Deletes all that is the store's, and the directory if it is empty then.
  Result<void> remove_all();

 private:
  StoreDirectory(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::string path_;
  int lock_ = -1;
};

/// Bytes of the files in a directory and those below it; 0 where there is none.
uint64_t directory_bytes(const std::string& path);

}  // namespace varve
