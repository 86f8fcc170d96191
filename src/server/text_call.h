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

struct TextCall {
  // What is continued: messages, or text, or tokens.
  std::optional<ChatRequest> chat = {};
  std::string text = {};
  std::optional<std::vector<int32_t>> ids = {};
  std::optional<uint64_t> session = {};  // whose tokens stand before text or ids

  GenerationRequest generation = {};  // its prompt is still empty
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
/// A field with a number of tokens; nothing where it is missing.
Result<std::optional<int>> read_max_tokens(const RequestFields& fields, std::string_view key);

}  // namespace varve::server
