// Hashes of the tokenizer's tables: of a byte string and of a pair of ids. Not for hostile keys
// where time matters; the tables stay correct whatever collides.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace varve {

inline uint64_t mix_hash(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a ^ 0x9E3779B97F4A7C15ull) * (b ^ 0xD6E8FEB86659FD93ull);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_bytes(std::string_view bytes) {
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = bytes.size();
  while (left >= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    hash = mix_hash(hash, word);
    at += 8;
    left -= 8;
  }
  uint64_t word = 0;
  for (size_t i = 0; i < left; ++i) {
    word |= static_cast<uint64_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  }
  return mix_hash(hash, word);
}

inline uint64_t hash_pair(uint32_t a, uint32_t b) {
  return mix_hash((static_cast<uint64_t>(a) << 32) | b, 0x2545F4914F6CDD1Dull);
}

/// Maps a hash to 0..n-1 evenly, by its high half; n below 2^32.
inline size_t slot_of(uint64_t hash, size_t n) {
  return static_cast<size_t>(((hash >> 32) * n) >> 32);
}

}  // namespace varve
