// The small parts of a tokenizer.json, from their JSON trees. `where` is the file and the path of
// the field, as it shall stand in front of error messages ("dir/tokenizer.json: decoder").
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/pretokenizer.h"

namespace varve {

/// null, or a Sequence of nothing.
Result<void> check_normalizer(const nlohmann::json& json, const std::string& where);

/// ByteLevel, alone or in a Sequence.
Result<void> check_decoder(const nlohmann::json& json, const std::string& where);

Result<Pretokenizer> read_pretokenizer(const nlohmann::json& json, const std::string& where);

Result<AddedToken> read_added_token(const nlohmann::json& json, const std::string& where);

/// The fields of `model` other than vocab and merges; sets `ignore_merges`.
Result<void> read_model_field(const std::string& key, const nlohmann::json& json,
                              const std::string& where, bool& ignore_merges);

/// What a message says was found: the type, and the value if it is short.
std::string found(const nlohmann::json& json);

}  // namespace varve
