// The vocabulary of a tokenizer.json as a converter writes it into a GGUF.
#pragma once

#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tokenizer/gguf_vocabulary.h"

namespace varve {

class TestGgufVocabulary {
 public:
  TestGgufVocabulary(const nlohmann::json& file, std::string_view pre) {
    fields.model = "gpt2";
    fields.pre = keep(std::string(pre));
    for (const auto& [piece, id] : file["model"]["vocab"].items()) {
      set(id.get<size_t>(), piece, GgufTokenType::normal);
    }
    for (const nlohmann::json& token : file["added_tokens"]) {
      set(token["id"].get<size_t>(), token["content"].get<std::string>(),
          token["special"] == true ? GgufTokenType::control : GgufTokenType::user_defined);
    }
    for (size_t id = 0; id < fields.tokens.size(); ++id) {
      if (fields.tokens[id].empty()) {
        set(id, "[PAD" + std::to_string(id) + "]", GgufTokenType::unused);
      }
    }
    for (const nlohmann::json& merge : file["model"]["merges"]) {
      fields.merges.push_back(keep(merge.is_string() ? merge.get<std::string>()
                                                     : merge[0].get<std::string>() + " " +
                                                           merge[1].get<std::string>()));
    }
  }

  void set(size_t id, const std::string& token, GgufTokenType type) {
    if (id >= fields.tokens.size()) {
      fields.tokens.resize(id + 1);
      fields.token_types.resize(id + 1);
    }
    fields.tokens[id] = keep(token);
    fields.token_types[id] = static_cast<int32_t>(type);
  }
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }

  GgufVocabulary fields;

 private:
  std::deque<std::string> texts_;  // what the fields look at
};

}  // namespace varve
