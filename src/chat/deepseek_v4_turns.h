// The messages of a request as DeepSeek-V4's encoding has them: results of tools stand in users'
// turns, calls of tools are text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_format.h"

namespace varve {

/// What writes and reads the calls: a tag is `<` or `</`, this and a name.
inline constexpr std::string_view kDsml = "｜DSML｜";

struct DeepseekV4Turn {
  std::string role = {};       // never "tool"
  std::string content = {};    // of a user: texts and results of tools, an empty line between them
  std::string reasoning = {};  // of an assistant
  std::string calls = {};      // of an assistant: the block, with the empty line before it
  std::optional<RawAnswer> raw = {};  // of an assistant: what it wrote, where that is known
  bool is_open = false;   // of an assistant: it goes on, no end token stands behind it (`wo_eos`)
  std::string task = {};  // the token that asks for one, as `task` names it; empty: none
  jinja::Value tools = jinja::Value::none();
  jinja::Value response_format = jinja::Value::none();
};

/// Messages in a row that are a user's or a tool's become one turn, which ends with a task; in it
/// results of tools stand in the order of the calls. Content may be a list of texts. The request's
/// own tools go to the system turn at the beginning, which is made where there is none. Errors
/// (bad_input): a field that is not what it has to be; a role or a task, which are not known.
Result<std::vector<DeepseekV4Turn>> deepseek_v4_turns(const ChatRequest& request);

/// As Python's json.dumps(value, ensure_ascii=False).
Result<std::string> python_json(const jinja::Value& value);

}  // namespace varve
