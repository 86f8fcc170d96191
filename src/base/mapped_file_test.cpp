#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace varve {
namespace {

std::string temporary(const char* name) {
  return testing::TempDir() + name;
}

TEST(MappedFile, MapsWhatWasWritten) {
  const std::string path = temporary("mapped_file_test.bin");
  std::ofstream(path) << "silt";
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->bytes().size(), 4u);
  EXPECT_EQ(static_cast<char>(file->bytes()[1]), 'i');
  MappedFile moved = std::move(*file);
  EXPECT_EQ(moved.bytes().size(), 4u);
  EXPECT_EQ(file->bytes().size(), 0u);
  std::remove(path.c_str());
}

TEST(MappedFile, NamesWhatIsMissing) {
  auto file = MappedFile::open("/nowhere/at/all");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
  EXPECT_NE(file.error().message.find("/nowhere/at/all"), std::string::npos);
  EXPECT_FALSE(MappedFile::open("/"));
}

TEST(MappedFile, EmptyFileHasNoBytes) {
  const std::string path = temporary("mapped_file_empty.bin");
  std::ofstream{path};
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->bytes().empty());
  std::remove(path.c_str());
}

TEST(MappedFile, IsFollowedByZeros) {
  constexpr size_t kMany = size_t{1} << 36;
  const std::string path = temporary("mapped_file_short.bin");
  for (const std::string& text : {std::string(), std::string("silt"), std::string(4096, 'x')}) {
    std::ofstream(path) << text;
    const auto file = MappedFile::open(path, kMany);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_EQ(file->bytes().size(), kMany);
    EXPECT_EQ(std::memcmp(file->bytes().data(), text.data(), text.size()), 0);
    EXPECT_EQ(static_cast<int>(file->bytes()[text.size()]), 0);
    EXPECT_EQ(static_cast<int>(file->bytes()[kMany - 1]), 0);
    EXPECT_EQ(MappedFile::open(path, 2)->bytes().size(), std::max(text.size(), size_t{2}));
  }
  const auto too_long = MappedFile::open(path, SIZE_MAX);
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message.find(path), std::string::npos);
  std::remove(path.c_str());
}

TEST(MappedFile, IsReplacedByACopyInItsPlace) {
  const std::string path = temporary("mapped_file_copy.bin");
  const std::string text(100000, 'v');
  std::ofstream(path) << text;
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  const std::byte* const before = file->bytes().data();
  size_t reported = 0;
  const auto copied = file->replace_by_copy(path, [&](size_t n) { reported += n; });
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(reported, text.size());
  EXPECT_EQ(file->bytes().data(), before);
  std::ofstream(path) << std::string(text.size(), 'x');  // the copy is none of the file's business
  EXPECT_EQ(std::memcmp(file->bytes().data(), text.data(), text.size()), 0);
  std::ofstream(path) << "short";
  EXPECT_FALSE(file->replace_by_copy(path, [](size_t) {}));
  std::remove(path.c_str());
  EXPECT_FALSE(file->replace_by_copy(path, [](size_t) {}));
}

TEST(ReadTextFile, RefusesMoreThanItsLimit) {
  const std::string path = temporary("read_text_file.txt");
  std::ofstream(path) << "12345";
  EXPECT_EQ(read_text_file(path, 5).value(), "12345");
  EXPECT_FALSE(read_text_file(path, 4));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace varve
