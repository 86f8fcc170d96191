#include "server/json_text.h"

namespace varve::server {

using Json = nlohmann::ordered_json;

Json json_of(const jinja::Value& value) {
  if (const std::string* const text = value.text()) return *text;
  if (value.as<bool>() != nullptr) return value.truth();
  if (const int64_t* const integer = value.as<int64_t>()) return *integer;
  if (const double* const real = value.as<double>()) return *real;
  if (const jinja::List* const list = value.list()) {
    Json out = Json::array();
    for (const jinja::Value& item : list->items) out.push_back(json_of(item));
    return out;
  }
  if (const jinja::Dict* const dict = value.dict()) {
    Json out = Json::object();
    for (const auto& [key, item] : dict->entries) {
      if (key.text() != nullptr) out[*key.text()] = json_of(item);
    }
    return out;
  }
  return nullptr;
}

}  // namespace varve::server
