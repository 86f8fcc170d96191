#include "cli/transcript_file.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/mapped_file.h"
#include "chat/jinja/json.h"

namespace varve::cli {
namespace {

using jinja::Value;
namespace fs = std::filesystem;

constexpr std::string_view kSchema = "varve.chat/1";
constexpr size_t kMaxBytes = size_t{256} << 20;

Value text(std::string_view value) {
  return Value::text(std::string(value));
}

// Questions and answers in turn.
Result<std::vector<Value>> read_messages(const Value& list, const std::string& path) {
  if (list.list() == nullptr || list.list()->items.size() % 2 != 0) {
    return bad_input("{}: field `messages`: expected questions with their answers, found {}", path,
                     list.describe());
  }
  bool is_answer = false;
  for (const Value& message : list.list()->items) {
    const Value* const role = message.dict() == nullptr ? nullptr : message.dict()->find("role");
    const std::string_view expected = is_answer ? "assistant" : "user";
    if (role == nullptr || role->text() == nullptr || *role->text() != expected) {
      return bad_input("{}: field `messages`: expected a message with the role `{}`, found {}",
                       path, expected, message.describe());
    }
    is_answer = !is_answer;
  }
  return list.list()->items;
}

Result<std::vector<int32_t>> read_ids(const jinja::List& list, const Tokenizer& tokenizer,
                                      const std::string& path) {
  std::vector<int32_t> ids;
  for (const Value& item : list.items) {
    const int64_t* const id = item.as<int64_t>();
    if (id == nullptr || *id < 0 || *id >= tokenizer.vocab_size()) {
      return bad_input("{}: field `transcript`: expected token ids below {}, found {}", path,
                       tokenizer.vocab_size(), item.describe());
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

Result<Transcript> read_stretches(const Value& list, const Tokenizer& tokenizer,
                                  const std::string& path) {
  Transcript transcript(tokenizer);
  if (list.list() == nullptr) {
    return bad_input("{}: field `transcript`: expected an array, found {}", path, list.describe());
  }
  for (const Value& stretch : list.list()->items) {
    if (stretch.text() != nullptr) {
      VARVE_CHECKED(transcript.add_read(*stretch.text()));
    } else if (stretch.list() != nullptr) {
      VARVE_TRY(std::vector<int32_t> ids, read_ids(*stretch.list(), tokenizer, path));
      std::string said = tokenizer.decode(ids);
      transcript.add_answer(std::move(ids), std::move(said));
    } else {
      return bad_input("{}: field `transcript`: expected texts and arrays of ids, found {}", path,
                       stretch.describe());
    }
  }
  return transcript;
}

Result<Value> stretches_of(const Transcript& transcript) {
  std::vector<Value> stretches;
  for (const Transcript::Part& part : transcript.parts()) {
    if (!part.is_answer) {
      stretches.push_back(text(part.text));
      continue;
    }
    std::vector<Value> ids;
    for (const int32_t id : part.ids) ids.emplace_back(int64_t{id});
    VARVE_TRY(Value list, jinja::make_list(std::move(ids)));
    stretches.push_back(std::move(list));
  }
  return jinja::make_list(std::move(stretches));
}

}  // namespace

Result<SavedConversation> read_transcript(const std::string& path, const Tokenizer& tokenizer) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return SavedConversation{{}, {}, Transcript(tokenizer)};
  VARVE_TRY(const std::string json, read_text_file(path, kMaxBytes));
  VARVE_TRY(const Value root, jinja::from_json(json, path));
  const auto field = [&](std::string_view name) -> Result<Value> {
    const Value* const value = root.dict() == nullptr ? nullptr : root.dict()->find(name);
    if (value == nullptr) {
      return bad_input("{}: field `{}`: it is missing; expected a file of --transcript", path,
                       name);
    }
    return *value;
  };
  VARVE_TRY(const Value schema, field("schema"));
  if (schema.text() == nullptr || *schema.text() != kSchema) {
    return bad_input("{}: field `schema`: expected {}, found {}", path, kSchema,
                     schema.text() == nullptr ? schema.describe() : *schema.text());
  }
  VARVE_TRY(const Value system, field("system"));
  if (system.text() == nullptr) {
    return bad_input("{}: field `system`: expected a string, found {}", path, system.describe());
  }
  VARVE_TRY(const Value list, field("messages"));
  VARVE_TRY(std::vector<Value> messages, read_messages(list, path));
  VARVE_TRY(const Value stretches, field("transcript"));
  VARVE_TRY(Transcript transcript, read_stretches(stretches, tokenizer, path));
  return SavedConversation{*system.text(), std::move(messages), std::move(transcript)};
}

Result<void> write_transcript(const std::string& path, const SavedConversation& saved) {
  VARVE_TRY(Value messages, jinja::make_list(saved.messages));
  VARVE_TRY(Value stretches, stretches_of(saved.transcript));
  VARVE_TRY(const Value root, jinja::make_dict({{text("schema"), text(kSchema)},
                                                {text("system"), text(saved.system)},
                                                {text("messages"), std::move(messages)},
                                                {text("transcript"), std::move(stretches)}}));
  jinja::Budget budget({.steps = INT64_MAX, .output_bytes = kMaxBytes, .held_bytes = SIZE_MAX});
  VARVE_TRY(std::string json, jinja::to_json(root, {}, budget));
  json += '\n';
  const std::string part = path + ".part";
  std::FILE* const file = std::fopen(part.c_str(), "wb");
  const bool is_written = file != nullptr &&
                          std::fwrite(json.data(), 1, json.size(), file) == json.size() &&
                          std::fflush(file) == 0;
  const bool is_whole = file != nullptr && std::fclose(file) == 0 && is_written;
  if (is_whole && std::rename(part.c_str(), path.c_str()) == 0) return {};
  std::remove(part.c_str());
  return fail(ErrorKind::internal, "--transcript {}: the file cannot be written", path);
}

}  // namespace varve::cli
