// What a store survives: its process killed at any moment, any byte of its files changed, any file
// cut short or gone.
//
// VARVE_STORE_KILLS and VARVE_STORE_FLIPS set how often, VARVE_STORE_SEED from where.
#include <fcntl.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>

#include "store/test_values.h"

namespace varve {
namespace {

namespace fs = std::filesystem;
using Got = TestValue::Got;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

// ---- killed ----

// The program store_writer, whose output is read line by line.
class Writer {
 public:
  Writer(const std::string& directory, uint64_t first, uint64_t budget, size_t rows_bytes) {
    std::array<int, 2> ends;
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
    out_ = fdopen(ends[0], "r");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::vector<std::string> words = {VARVE_STORE_WRITER, directory, std::to_string(first),
                                      std::to_string(budget), std::to_string(rows_bytes)};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int failed =
        posix_spawn(&process_, VARVE_STORE_WRITER, &actions, nullptr, arguments.data(), environ);
    EXPECT_EQ(failed, 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
  }
  ~Writer() { kill_it(); }

  /// False: it has ended.
  bool read_line() {
    std::array<char, 64> line;
    if (std::fgets(line.data(), line.size(), out_) == nullptr) return false;
    // A line that was cut off by the kill says less than it would: nothing.
    const std::string text = line.data();
    if (text.ends_with('\n')) said_ = std::stoull(text);
    return true;
  }
  /// All values before this number are on the disk.
  uint64_t said() const { return said_; }

  void kill_it() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    int status = 0;
    waitpid(process_, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself";
    process_ = -1;
    while (read_line()) {
    }
    std::fclose(out_);
  }

 private:
  pid_t process_ = -1;
  FILE* out_ = nullptr;
  uint64_t said_ = 0;
};

// Lets a writer run until it has said a random number of lines, or for a moment, and kills it.
// Returns what it said.

uint64_t run_and_kill(Writer& writer, Rng& rng) {
  const uint64_t n_lines = rng.below(8) == 0 ? 0 : rng.below(40);
  for (uint64_t n = 0; n < n_lines && writer.read_line(); ++n) {
  }
  // Anywhere between two lines; which moment it is decides nothing.
  usleep(static_cast<useconds_t>(rng.below(n_lines == 0 ? 30'000 : 3'000)));
  writer.kill_it();
  return writer.said();
}

constexpr size_t kRows = 6000;

TestValue written(uint64_t i) {
  return test_value(i % 50, kRows, i / 50);
}

StoreOptions options_of(const std::string& directory, uint64_t budget) {
  StoreOptions options = test_options(directory, kRows);
  options.budget_bytes = budget;
  options.queue_bytes = size_t{1} << 20;
  return options;
}

TEST(Crash, NothingAcknowledgedIsLost) {
  const TestDirectory directory;
  constexpr uint64_t kBudget = uint64_t{4} << 30;  // nothing is evicted
  Rng rng(from_environment("VARVE_STORE_SEED", 1));
  const uint64_t n_kills = from_environment("VARVE_STORE_KILLS", 20);
  uint64_t acknowledged = 0;
  for (uint64_t n = 0; n < n_kills; ++n) {
    Writer writer(directory.path(), acknowledged, kBudget, kRows);
    const uint64_t before = acknowledged;
    acknowledged = std::max(acknowledged, run_and_kill(writer, rng));
    auto store = Store::open(options_of(directory.path(), kBudget));
    ASSERT_TRUE(store) << store.error().message;
    ASSERT_EQ((*store)->stats().set_aside_bytes, 0u) << (*store)->stats().notes.front();
    for (uint64_t i = before; i < acknowledged; ++i) {
      ASSERT_EQ(written(i).get(**store), Got::right) << "kill " << n << ", value " << i;
    }
    for (int k = 0; k < 100 && before > 0; ++k) {
      const uint64_t i = rng.below(before);
      ASSERT_EQ(written(i).get(**store), Got::right) << "kill " << n << ", value " << i;
    }
    // What was written and not acknowledged is whole or not there.
    for (uint64_t i = acknowledged; i < acknowledged + 200; ++i) {
      ASSERT_NE(written(i).get(**store), Got::wrong) << "kill " << n << ", value " << i;
    }
  }
  EXPECT_GT(acknowledged, n_kills);
  auto store = Store::open(options_of(directory.path(), kBudget));
  ASSERT_TRUE(store);
  for (uint64_t i = 0; i < acknowledged; ++i) {
    ASSERT_EQ(written(i).get(**store), Got::right) << i;
  }
  EXPECT_EQ((*store)->stats().last_problem, "");
}

// The same while values are evicted and files are rewritten.
TEST(Crash, WhatIsThereIsWhole) {
  const TestDirectory directory;
  constexpr uint64_t kBudget = uint64_t{4} << 20;
  Rng rng(from_environment("VARVE_STORE_SEED", 2));
  const uint64_t n_kills = from_environment("VARVE_STORE_KILLS", 20);
  uint64_t first = 0;
  uint64_t hits = 0;
  for (uint64_t n = 0; n < n_kills; ++n) {
    Writer writer(directory.path(), first, kBudget, kRows);
    first = std::max(first, run_and_kill(writer, rng));
    auto store = Store::open(options_of(directory.path(), kBudget));
    ASSERT_TRUE(store) << store.error().message;
    for (uint64_t i = first < 2000 ? 0 : first - 2000; i < first + 200; ++i) {
      const TestValue value = written(i);
      if (!value.has(**store)) continue;
      ASSERT_EQ(value.get(**store), Got::right) << "kill " << n << ", value " << i;
      ASSERT_TRUE(value.parent == Digest{} || (*store)->has_block(value.parent)) << i;
      ++hits;
    }
    EXPECT_EQ((*store)->stats().last_problem, "");
    EXPECT_EQ((*store)->stats().set_aside_bytes, 0u);
  }
  EXPECT_GT(hits, n_kills);
}

// ---- damaged ----

constexpr uint64_t kValues = 60;
constexpr uint64_t kPerFile = 12;  // at most so many values lie in one file
constexpr size_t kSmallRows = 3000;

StoreOptions small_options(const std::string& directory) {
  return test_options(directory, kSmallRows);
}

// With values in blob files, tables on two levels, a log that was not written out, and none of the
// files empty.
void make_store(const std::string& directory) {
  for (uint64_t i = 0; i < kValues; i += kPerFile) {
    auto store = Store::open(small_options(directory));
    ASSERT_TRUE(store);
    for (uint64_t k = i; k < i + kPerFile; ++k) ASSERT_TRUE(test_value(k, kSmallRows).put(**store));
    ASSERT_TRUE((*store)->flush());
  }
}

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file() && entry.file_size() > 0) {
      files.push_back(fs::relative(entry.path(), directory).string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

struct Outcome {
  uint64_t right = 0;
  bool is_said = false;  // that something is not as it was
  std::string words;
};

// Opens the damaged store, reads everything, and writes everything again.
Outcome use_store(const std::string& directory, const std::string& what) {
  Outcome outcome;
  auto store = Store::open(small_options(directory));
  EXPECT_TRUE(store) << what << ": " << store.error().message;
  if (!store) return outcome;
  // What is whole of a damaged database is taken over meanwhile.
  while ((*store)->stats().salvage_bytes > 0) usleep(1000);
  for (uint64_t i = 0; i < kValues; ++i) {
    EXPECT_NE(test_value(i, kSmallRows).get(**store), Got::wrong) << what << ", value " << i;
  }
  // That may have found more damage.
  EXPECT_TRUE((*store)->flush()) << what;
  while ((*store)->stats().salvage_bytes > 0) usleep(1000);
  for (uint64_t i = 0; i < kValues; ++i) {
    const Got got = test_value(i, kSmallRows).get(**store);
    EXPECT_NE(got, Got::wrong) << what << ", value " << i;
    outcome.right += got == Got::right ? 1 : 0;
  }
  const StoreStats stats = (*store)->stats();
  outcome.is_said = !stats.notes.empty() || !stats.last_problem.empty();
  outcome.words = stats.notes.empty() ? stats.last_problem : stats.notes.front();
  for (uint64_t i = 0; i < kValues; ++i) test_value(i, kSmallRows).put(**store);
  EXPECT_TRUE((*store)->flush()) << what;
  while ((*store)->stats().salvage_bytes > 0) usleep(1000);
  for (uint64_t i = 0; i < kValues; ++i) {
    EXPECT_EQ(test_value(i, kSmallRows).get(**store), Got::right) << what << ", put again: " << i;
  }
  store->reset();
  // And once more.
  auto again = Store::open(small_options(directory));
  EXPECT_TRUE(again) << what;
  uint64_t right = 0;
  for (uint64_t i = 0; again && i < kValues; ++i) {
    const Got got = test_value(i, kSmallRows).get(**again);
    EXPECT_NE(got, Got::wrong) << what << ", at last: " << i;
    right += got == Got::right ? 1 : 0;
  }
  if (again) {
    EXPECT_EQ(right, kValues) << what << ", at last: "
                              << fmt::format("{} {}", fmt::join((*again)->stats().notes, "; "),
                                             (*again)->stats().last_problem);
  }
  return outcome;
}

class Damage : public testing::Test {
 protected:
  void SetUp() override { make_store(directory_.path("whole")); }

  std::string fresh_copy() {
    const std::string to = directory_.path("damaged");
    fs::remove_all(to);
    fs::copy(directory_.path("whole"), to, fs::copy_options::recursive);
    return to;
  }
  // Looks at what became of it, that little was lost, and that this was not passed over in silence.
  void check(const std::string& what, bool may_be_silent = false) {
    const Outcome outcome = use_store(directory_.path("damaged"), what);
    if (std::getenv("VARVE_STORE_SHOW") != nullptr) {
      std::printf("%s: %d right; %s\n", what.c_str(), static_cast<int>(outcome.right),
                  outcome.words.c_str());
    }
    EXPECT_TRUE(outcome.right == kValues || outcome.is_said || may_be_silent)
        << what << ": " << outcome.right;
    EXPECT_GE(outcome.right + kPerFile, kValues) << what << ": " << outcome.words;
    unhurt_ += outcome.right == kValues ? 1 : 0;
    hurt_ += outcome.right == kValues ? 0 : 1;
  }

  // Nothing tells a log that is gone from one that was not begun.
  static bool is_log(const std::string& name) { return name.ends_with(".log"); }

  TestDirectory directory_;
  uint64_t unhurt_ = 0;
  uint64_t hurt_ = 0;
};

TEST_F(Damage, OneByte) {
  Rng rng(from_environment("VARVE_STORE_SEED", 3));
  const uint64_t n_flips = from_environment("VARVE_STORE_FLIPS", 40);
  const std::vector<std::string> files = files_below(directory_.path("whole"));
  for (uint64_t n = 0; n < n_flips; ++n) {
    const std::string copy = fresh_copy();
    const std::string& name = files[rng.below(files.size())];
    const std::string path = copy + "/" + name;
    const uint64_t at = rng.below(fs::file_size(path));
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int before = file.get();
    const int mask = rng.below(2) == 0 ? 1 << rng.below(8) : 1 + static_cast<int>(rng.below(255));
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(before ^ mask));
    file.close();
    check(fmt::format("flip {}: {} at {} by {:#x}", n, name, at, mask));
    if (HasFailure()) break;
  }
  EXPECT_GT(hurt_, 0u);
  EXPECT_GT(unhurt_, 0u);
}

TEST_F(Damage, AFileThatIsGone) {
  for (const std::string& name : files_below(directory_.path("whole"))) {
    fs::remove(fresh_copy() + "/" + name);
    check("without " + name, is_log(name));
  }
  EXPECT_GT(hurt_, 0u);
}

TEST_F(Damage, AFileThatIsCutShort) {
  Rng rng(from_environment("VARVE_STORE_SEED", 4));
  for (const std::string& name : files_below(directory_.path("whole"))) {
    const std::string path = fresh_copy() + "/" + name;
    for (const uint64_t size : {uint64_t{0}, rng.below(fs::file_size(path))}) {
      fresh_copy();
      fs::resize_file(path, size);
      check(fmt::format("{} cut to {}", name, size), is_log(name) && size == 0);
    }
  }
  EXPECT_GT(hurt_, 0u);
}

TEST_F(Damage, DatabasesAreSetAsideWithinTheBudget) {
  const std::string path = directory_.path("whole");
  StoreOptions options = small_options(path);
  options.budget_bytes = uint64_t{4} << 20;
  options.queue_bytes = size_t{1} << 20;
  for (int i = 1; i <= 30; ++i) {
    fs::remove(path + "/db/CURRENT");
    auto store = Store::open(options);
    ASSERT_TRUE(store);
    ASSERT_EQ((*store)->stats().notes.size(), 1u);
    EXPECT_NE((*store)->stats().notes[0].find(fmt::format("damaged-{}", i)), std::string::npos);
    for (uint64_t k = 0; k < kValues; ++k) test_value(k, kSmallRows).put(**store);
    ASSERT_TRUE((*store)->flush());
    store->reset();
    EXPECT_LE(directory_bytes(path), options.budget_bytes);
  }
}

}  // namespace
}  // namespace varve
