// What attention lays out for a number of rows holds fewer of them too.
#include <gtest/gtest.h>

#include "attention/attention.h"

namespace varve {
namespace {

size_t bytes_for(int n_heads, int head_dim, int max_rows) {
  ArenaBuilder dry;
  Attention().lay_out(dry, /*n_threads=*/2, n_heads, head_dim, max_rows);
  return dry.bytes();
}

// Parts are whole tiles, so 9216 rows are 16 parts and 9217 only 15: room for 9217 is that for 16.
TEST(AttentionRoom, MoreRowsNeverTakeLess) {
  for (const int head_dim : {64, 16384}) {
    size_t before = 0;
    for (int max_rows = 1; max_rows <= 20000; ++max_rows) {
      const size_t bytes = bytes_for(/*n_heads=*/4, head_dim, max_rows);
      ASSERT_GE(bytes, before) << max_rows << " rows of " << head_dim;
      before = bytes;
    }
  }
}

}  // namespace
}  // namespace varve
