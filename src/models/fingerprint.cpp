#include "models/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace varve {
namespace {

// Hashed by one thread at a time; part of what the fingerprint is.
constexpr size_t kStretchBytes = size_t{4} << 20;
// Between two reports of progress.
constexpr int kStretchesPerReport = 64;

using StretchHash = std::array<std::byte, sizeof(XXH128_canonical_t)>;

StretchHash hash_of(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  StretchHash hash;
  std::ranges::copy(std::as_bytes(std::span(canonical.digest)), hash.begin());
  return hash;
}

void add_number(Sha256& hash, uint64_t number) {
  std::array<std::byte, 8> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(number >> (8 * i));
  hash.add(bytes);
}

}  // namespace

Result<Digest> model_fingerprint(const Model& model, const std::string& path, ThreadPool& pool,
                                 const std::function<void(size_t)>& progress) {
  if (!model.has_values()) {
    return fail(ErrorKind::internal, "{}: a model without values has no fingerprint", path);
  }
  Sha256 hash;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const std::string name = (std::filesystem::path(path) / "config.json").string();
    std::ifstream file(name, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (text.empty()) return bad_input("{}: expected the model's config, found nothing", name);
    add_number(hash, text.size());
    hash.add(std::as_bytes(std::span(text)));
  }
  size_t done = 0;
  for (const std::span<const std::byte> file : model.checkpoint().mapped_ranges()) {
    add_number(hash, file.size());
    const size_t n = (file.size() + kStretchBytes - 1) / kStretchBytes;
    std::vector<StretchHash> hashes(n);
    for (size_t first = 0; first < n; first += kStretchesPerReport) {
      const int count = static_cast<int>(std::min<size_t>(kStretchesPerReport, n - first));
      pool.run(count, [&](int item, int) {
        const size_t i = first + static_cast<size_t>(item);
        const size_t at = i * kStretchBytes;
        hashes[i] = hash_of(file.subspan(at, std::min(kStretchBytes, file.size() - at)));
      });
      done += std::min(file.size() - first * kStretchBytes, kStretchesPerReport * kStretchBytes);
      if (progress) progress(done);
    }
    hash.add(std::as_bytes(std::span(hashes)));
  }
  return hash.finish();
}

}  // namespace varve
