// Writes values to a store until it is killed, for crash_test.cpp.
//
//   store_writer DIR FIRST BUDGET_BYTES ROWS_BYTES [END]
//
// A line of its output says N when all values before number N are on the disk. With END it ends
// before value END, of itself, for tests/cli_store.py.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "store/test_values.h"

namespace {

using namespace varve;

class Report {
 public:
  void accepted(uint64_t i) { accepted_.push_back(i); }
  void say(const Store& store) {
    const uint64_t n = store.acknowledged();
    if (n == said_) return;
    said_ = n;
    fmt::print("{}\n", accepted_[n - 1] + 1);
    std::fflush(stdout);
  }

 private:
  std::vector<uint64_t> accepted_;
  uint64_t said_ = 0;
};

int write_values(const StoreOptions& options, uint64_t first, uint64_t end) {
  auto opened = Store::open(options);
  if (!opened) {
    fmt::print(stderr, "store_writer: {}\n", opened.error().message);
    return 1;
  }
  Store& store = **opened;
  Report report;
  for (uint64_t i = first; i < end; ++i) {
    const TestValue value = test_value(i % 50, options.block_bytes, i / 50);
    // Where the queue is full there is room after a flush; where the parent was evicted, never.
    for (int tries = 0; tries < 2 && !value.has(store); ++tries) {
      if (value.put(store)) {
        report.accepted(i);
      } else if (!store.flush()) {
        return 1;
      }
    }
    report.say(store);
  }
  return store.flush() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  StoreOptions options = test_options(argv[1], std::stoul(argv[4]));
  options.budget_bytes = std::stoul(argv[3]);
  options.queue_bytes = 8 * (options.point_bytes + 1024);
  return write_values(options, std::stoul(argv[2]), argc == 6 ? std::stoul(argv[5]) : UINT64_MAX);
}
