// A tokenizer.json for tests: the 256 bytes with the ids 0..255, then the pieces that the merges
// make, in order, and whatever else a test sets.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/test_spelt_bytes.h"

namespace varve {

inline nlohmann::json byte_level_json(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  using nlohmann::json;
  json vocab = json::object();
  for (const std::string& spelt : spelt_bytes()) {
    const auto id = static_cast<int>(vocab.size());
    vocab[spelt] = id;
  }
  json pairs = json::array();
  for (const auto& [left, right] : merges) {
    const auto id = static_cast<int>(vocab.size());
    vocab[left + right] = id;
    pairs.push_back(left + " " + right);
  }
  return {
      {"added_tokens", json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", pairs}}}};
}

inline nlohmann::json added_token_json(const std::string& content, int id) {
  return {{"content", content}, {"id", id},        {"special", true},    {"single_word", false},
          {"lstrip", false},    {"rstrip", false}, {"normalized", false}};
}

}  // namespace varve
