#include "store/directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

namespace varve {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = "VARVE-STORE";
constexpr std::string_view kLock = "LOCK";
constexpr std::string_view kDatabase = "db";
constexpr std::string_view kSetAside = "damaged-";
constexpr std::string_view kMarkText =
    "This directory is a store of varve: what a model's cache held, kept on disk.\n"
    "`varve store stat DIR` says what is in it; it may be deleted as a whole at any time.\n";

// The number of a directory that was set aside, 0 for any other name.
int set_aside_number(std::string_view name) {
  if (!name.starts_with(kSetAside)) return 0;
  name.remove_prefix(kSetAside.size());
  int number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() && number > 0 ? number : 0;
}

tl::unexpected<Error> failed(const std::string& path, std::string_view what) {
  return fail(ErrorKind::internal, "{}: cannot {}: {}", path, what, std::strerror(errno));
}

// Names in the directory, in no order; an error of the system's ends the list.
std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  return names;
}

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// By either of its marks: one may have been lost.
Result<void> check_is_store(const std::string& path) {
  const std::vector<std::string> names = names_in(path);
  if (names.empty() || has(names, kMark)) return {};
  if (has(names_in(path + "/" + std::string(kDatabase)), kMark)) return {};
  return usage_error(
      "{}: expected a store or an empty directory, found other files in it ({}); they were left "
      "alone",
      path, names.front());
}

Result<void> write_mark(const std::string& path) {
  const std::string mark = path + "/" + std::string(kMark);
  std::error_code ignored;
  if (fs::exists(mark, ignored)) return {};
  const int file = ::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return failed(mark, "be created");
  const bool whole =
      ::write(file, kMarkText.data(), kMarkText.size()) == static_cast<ssize_t>(kMarkText.size());
  ::close(file);
  if (!whole) return failed(mark, "be written");
  return {};
}

Result<int> take_lock(const std::string& path) {
  const std::string name = path + "/" + std::string(kLock);
  const int file = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return failed(name, "be opened");
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  const bool is_held = errno == EWOULDBLOCK;
  ::close(file);
  if (is_held) return usage_error("{}: the store is in use by another process", path);
  return failed(name, "be locked");
}

Result<void> make_directory(const std::string& path, StoreDirectory::Missing missing) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) return {};
  if (fs::exists(status)) return usage_error("{}: expected a directory, found a file", path);
  if (missing == StoreDirectory::Missing::refuse) return bad_input("no store at {}", path);
  fs::create_directories(path, error);
  if (error) {
    return fail(ErrorKind::internal, "{}: cannot be created: {}", path, error.message());
  }
  return {};
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) {
    return fail(ErrorKind::internal, "{}: cannot be deleted: {}", path, error.message());
  }
  return {};
}

}  // namespace

Result<StoreDirectory> StoreDirectory::open(const std::string& path, Missing missing) {
  if (path.empty()) return usage_error("the store's directory: expected a name, found none");
  VARVE_CHECKED(make_directory(path, missing));
  VARVE_CHECKED(check_is_store(path));
  if (missing == Missing::refuse && names_in(path).empty()) {
    return bad_input("no store at {}: the directory is empty", path);
  }
  VARVE_CHECKED(write_mark(path));
  VARVE_TRY(const int lock, take_lock(path));
  return StoreDirectory(path, lock);
}

StoreDirectory::StoreDirectory(StoreDirectory&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

StoreDirectory& StoreDirectory::operator=(StoreDirectory&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_, other.lock_);
  return *this;
}

StoreDirectory::~StoreDirectory() {
  if (lock_ >= 0) ::close(lock_);  // which gives the lock back
}

bool StoreDirectory::database_is_headless() const {
  const std::vector<std::string> names = names_in(database());
  if (has(names, "CURRENT")) return false;
  const bool has_values = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    std::error_code ignored;
    return name.ends_with(".sst") || name.ends_with(".blob") ||
           (name.ends_with(".log") && fs::file_size(database() + "/" + name, ignored) > 0);
  });
  if (!has_values) static_cast<void>(remove_tree(database()));
  return has_values;
}

Result<void> StoreDirectory::make_database() const {
  VARVE_CHECKED(make_directory(database(), Missing::create));
  return write_mark(database());
}

std::vector<std::string> StoreDirectory::set_aside() const {
  std::vector<std::string> found;
  for (const std::string& name : names_in(path_)) {
    if (set_aside_number(name) > 0) found.push_back(name);
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return set_aside_number(a) < set_aside_number(b); });
  for (std::string& name : found) name.insert(0, path_ + "/");
  return found;
}

Result<std::string> StoreDirectory::set_database_aside() {
  const std::vector<std::string> before = set_aside();
  const int newest =
      before.empty() ? 0 : set_aside_number(fs::path(before.back()).filename().string());
  std::string name = fmt::format("{}/{}{}", path_, kSetAside, newest + 1);
  std::error_code error;
  fs::rename(database(), name, error);
  if (error) {
    return fail(ErrorKind::internal, "{}: cannot be renamed to {}: {}", database(), name,
                error.message());
  }
  return name;
}

Result<void> StoreDirectory::remove_set_aside(const std::string& path) {
  return remove_tree(path);
}

Result<void> StoreDirectory::remove_all() {
  for (const std::string& one : set_aside()) VARVE_CHECKED(remove_tree(one));
  VARVE_CHECKED(remove_tree(database()));
  for (const std::string_view name : {kMark, kLock}) {
    VARVE_CHECKED(remove_tree(path_ + "/" + std::string(name)));
  }
  std::error_code ignored;
  if (fs::is_empty(path_, ignored)) fs::remove(path_, ignored);
  return {};
}

uint64_t directory_bytes(const std::string& path) {
  uint64_t sum = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;  // files come and go
    const uint64_t bytes = at->is_regular_file(gone) && !gone ? at->file_size(gone) : 0;
    if (!gone) sum += bytes;
  }
  return sum;
}

}  // namespace varve
