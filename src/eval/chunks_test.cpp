#include "eval/chunks.h"

#include <gtest/gtest.h>

#include <numeric>

namespace varve {
namespace {

std::vector<int32_t> ids(int n) {
  std::vector<int32_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 10);
  return out;
}

TEST(Chunks, EachBeginsWithBos) {
  const TextChunks text = cut_chunks(ids(8), 4, 1).value();
  EXPECT_EQ(text.chunks, (std::vector<std::vector<int32_t>>{{1, 10, 11, 12}, {1, 13, 14, 15}}));
  EXPECT_EQ(text.n_left_over, 2u);
  EXPECT_EQ(text.n_tokens(), 8u);
}

TEST(Chunks, ABosOfTheTextIsNotDoubled) {
  std::vector<int32_t> with_bos = ids(3);
  with_bos.insert(with_bos.begin(), 1);
  const TextChunks text = cut_chunks(with_bos, 4, 1).value();
  EXPECT_EQ(text.chunks, (std::vector<std::vector<int32_t>>{{1, 10, 11, 12}}));
  EXPECT_EQ(text.n_left_over, 0u);
}

TEST(Chunks, NoneWhereTheModelHasNone) {
  const TextChunks text = cut_chunks(ids(5), 2, -1).value();
  EXPECT_EQ(text.chunks, (std::vector<std::vector<int32_t>>{{10, 11}, {12, 13}}));
}

TEST(Chunks, TooLittleIsRefused) {
  const auto little_text = cut_chunks(ids(2), 4, 1);
  ASSERT_FALSE(little_text);
  EXPECT_EQ(little_text.error().kind, ErrorKind::bad_input);
  EXPECT_NE(little_text.error().message.find("2 tokens"), std::string::npos);
  const auto little_chunk = cut_chunks(ids(2), 1, -1);
  ASSERT_FALSE(little_chunk);
  EXPECT_EQ(little_chunk.error().kind, ErrorKind::usage);
}

TEST(Chunks, EvenChunksUseTheText) {
  EXPECT_EQ(even_chunk_tokens(ids(100), 512, 1), 101);  // all of it, and BOS
  EXPECT_EQ(even_chunk_tokens(ids(511), 512, 1), 512);
  EXPECT_EQ(even_chunk_tokens(ids(512), 512, 1), 257);    // two
  EXPECT_EQ(even_chunk_tokens(ids(1000), 300, -1), 250);  // four
  EXPECT_EQ(cut_chunks(ids(1001), even_chunk_tokens(ids(1001), 300, 1), 1).value().n_left_over, 1u);
}

}  // namespace
}  // namespace varve
