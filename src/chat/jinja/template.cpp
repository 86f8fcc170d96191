#include "chat/jinja/template.h"

#include <utility>

#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"
#include "chat/jinja/parser.h"
#include "chat/jinja/renderer.h"

namespace varve::jinja {
namespace {

template <class T>
Result<T> named(const std::string& name, Result<T> result) {
  return std::move(result).map_error([&](Error error) {
    error.message = fmt::format("{}: {}", name, error.message);
    return error;
  });
}

Result<Body> parse_source(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return bad_input("expected a template of at most {} bytes, found {}", kMaxTemplateBytes,
                     source.size());
  }
  VARVE_TRY(std::vector<Token> tokens, tokenize(source));
  return jinja::parse(std::move(tokens));
}

}  // namespace

struct Template::Tree {
  Body body;
};

Template::Template(std::string name, std::unique_ptr<const Tree> tree)
    : name_(std::move(name)), tree_(std::move(tree)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::parse(std::string_view source, const std::string& name) {
  VARVE_TRY(Body body, named(name, parse_source(source)));
  return Template(name, std::make_unique<const Tree>(Tree{std::move(body)}));
}

Result<std::string> Template::render(const Dict& variables, std::time_t now, Limits limits) const {
  return named(name_, Renderer(variables, now, limits).run(tree_->body));
}

}  // namespace varve::jinja
