// JSON that is sent: on one line; what is not UTF-8 in it, which nothing should be, is replaced.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "chat/jinja/value.h"

namespace varve::server {

inline std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// A value that came as JSON.
nlohmann::ordered_json json_of(const jinja::Value& value);

}  // namespace varve::server
