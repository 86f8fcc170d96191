// A chat template: Jinja as `apply_chat_template` of Hugging Face's Transformers runs it, that is
// jinja2's immutable sandbox with trim_blocks, lstrip_blocks, {% break %}, {% continue %} and
// {% generation %}, and the functions raise_exception, strftime_now and tojson.
//
// What a template asks for and varve does not know is refused in a sentence, when the template is
// parsed if that can be told from its text. A template cannot run on for ever, fill memory or the
// stack: see Limits.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

class Template {
 public:
  /// `name` begins error messages: the file and the field that the template comes from.
  static Result<Template> parse(std::string_view source, const std::string& name);

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  /// The text that the template makes of `variables`. `now` is what strftime_now tells.
  Result<std::string> render(const Dict& variables, std::time_t now, Limits limits = {}) const;

  const std::string& name() const { return name_; }

 private:
  struct Tree;
  Template(std::string name, std::unique_ptr<const Tree> tree);

  std::string name_;
  std::unique_ptr<const Tree> tree_;
};

}  // namespace varve::jinja
