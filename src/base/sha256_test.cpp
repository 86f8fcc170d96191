#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string_view>

namespace varve {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// FIPS 180-2, appendix B.
TEST(Sha256, PublishedExamples) {
  EXPECT_EQ(hex(sha256(bytes_of("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, PartsMakeTheSameAsTheWholeAndFinishBeginsAnew) {
  Sha256 hash;
  for (int round = 0; round < 2; ++round) {
    hash.add(bytes_of("a"));
    hash.add(bytes_of("bc"));
    EXPECT_EQ(hash.finish(), sha256(bytes_of("abc")));
  }
}

}  // namespace
}  // namespace varve
