// What every API's request for text comes down to.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/chat_format.h"
#include "server/generation.h"
#include "server/request_fields.h"

namespace varve::server {

/// JSON that an answer is to be.
struct JsonFormat {
  std::optional<std::string> schema = {};  // nothing: any object
  std::string path;                        // of the field, for messages
};

struct TextCall {
  // What is continued: messages, or text, or tokens.
  std::optional<ChatRequest> chat = {};
  std::string text = {};
  std::optional<std::vector<int32_t>> ids = {};
  std::optional<uint64_t> session = {};  // whose tokens stand before text or ids

  std::optional<JsonFormat> json = {};
  GenerationRequest generation = {};  // its prompt and its grammar are still empty
  bool streams = false;
  bool wants_usage = false;  // in a stream
};

/// What the server does where a request does not say.
struct CallDefaults {
  SamplerOptions sampling = {};
  std::vector<std::pair<std::string, jinja::Value>> variables = {};  // of the chat format
};

/// Stop strings of a request, and their bytes, at most.
inline constexpr size_t kMaxStopStrings = 64;
inline constexpr size_t kMaxStopBytes = 1024;

/// `temperature`, `top_p`, `top_k`, `min_p`, `seed`, `logit_bias`; `frequency_penalty` and
/// `presence_penalty` are refused unless they are 0. Without a seed a random one is taken.
Result<SamplerOptions> read_sampling(const RequestFields& fields, const SamplerOptions& defaults,
                                     double max_temperature);
/// A field with one stop string or several.
Result<std::vector<std::string>> read_stops(const RequestFields& fields, std::string_view key);
/// A field with the form of an answer, as OpenAI's APIs have it: {"type": "text"}, "json_object" or
/// "json_schema". `schema_in`: the field of a schema lies in an object of this name; empty: beside
/// the type. Nothing: text.
Result<std::optional<JsonFormat>> read_json_format(const RequestFields& fields,
                                                   std::string_view key,
                                                   std::string_view schema_in);
/// Whether what the call asks for can be had together. Error (bad_input): JSON with tools, or past
/// the end token.
Result<void> check_json(const TextCall& call);
/// A field with a number of tokens; nothing where it is missing.
Result<std::optional<int>> read_max_tokens(const RequestFields& fields, std::string_view key);

}  // namespace varve::server
