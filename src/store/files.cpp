#include "store/files.h"

#include <utility>

namespace varve {
namespace {

Result<void> as_result(const DatabaseResult<void>& done, const StoreFiles& files) {
  if (done) return {};
  return fail(ErrorKind::internal, "{}: {}", files.directory.database(), done.error().message);
}

DatabaseResult<void> open_database(StoreFiles& files, size_t write_buffer_bytes) {
  if (files.directory.database_is_headless()) {
    return tl::unexpected(DatabaseError{true, "its file CURRENT is not there"});
  }
  if (const auto made = files.directory.make_database(); !made) {
    return tl::unexpected(DatabaseError{false, made.error().message});
  }
  auto opened = Database::open({files.directory.database(), write_buffer_bytes});
  if (!opened) return tl::unexpected(opened.error());
  files.database = std::move(*opened);
  return {};
}

DatabaseResult<void> load_index(StoreFiles& files) {
  auto damaged = files.database->for_each_record([&](const EntryKey& key, const ValueRecord& of) {
    files.index.add(key, of, StoreIndex::State::stored);
  });
  if (!damaged) return tl::unexpected(damaged.error());
  files.damaged = std::move(*damaged);
  auto models = files.database->models();
  if (!models) return tl::unexpected(models.error());
  files.models = std::move(*models);
  return {};
}

DatabaseResult<void> open_and_load(StoreFiles& files, size_t write_buffer_bytes) {
  auto done = open_database(files, write_buffer_bytes);
  if (done) done = load_index(files);
  return done;
}

}  // namespace

Result<void> replace_database(StoreFiles& files, size_t write_buffer_bytes,
                              const std::string& reason) {
  files.database.reset();
  files.index.clear();
  files.models.clear();
  files.damaged.clear();
  VARVE_TRY(const std::string aside, files.directory.set_database_aside());
  files.notes.push_back(
      fmt::format("the database of the store was damaged ({}); it lies in {} now, and what "
                  "is whole of it is taken over",
                  reason, aside));
  return as_result(open_and_load(files, write_buffer_bytes), files);
}

Result<StoreFiles> open_store_files(const std::string& path, StoreDirectory::Missing missing,
                                    size_t write_buffer_bytes) {
  VARVE_TRY(StoreDirectory directory, StoreDirectory::open(path, missing));
  StoreFiles files{.directory = std::move(directory),
                   .database = nullptr,
                   .index = {},
                   .models = {},
                   .damaged = {},
                   .notes = {}};
  const auto opened = open_and_load(files, write_buffer_bytes);
  if (!opened && opened.error().is_damage) {
    VARVE_CHECKED(replace_database(files, write_buffer_bytes, opened.error().message));
    return files;
  }
  VARVE_CHECKED(as_result(opened, files));
  if (!files.database->opening_note().empty()) {
    files.notes.push_back(
        fmt::format("values that were written last may be missing from the store: {}",
                    files.database->opening_note()));
  }
  if (!files.damaged.empty()) {
    files.notes.push_back(fmt::format("{} records of the store were damaged; their values are lost",
                                      files.damaged.size()));
  }
  return files;
}

}  // namespace varve
