#include <utility>

#include "chat/jinja/filters.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/renderer.h"

namespace varve::jinja {
namespace {

// A turn of a loop and a call of a macro make a scope.
constexpr int64_t kStepsOfScope = 4;

}  // namespace

Renderer::Renderer(const Dict& variables, std::time_t now, Limits limits)
    : variables_(variables), limits_(limits), environment_{Budget(limits), now, {}}, scopes_(1) {}

Result<std::string> Renderer::run(const Body& body) {
  Printed printed;
  out_ = &printed;
  VARVE_CHECKED(execute(body));
  return std::move(printed.text);
}

Result<void> Renderer::print(std::string_view text) {
  if (out_->text.size() + text.size() > limits_.output_bytes) {
    return bad_input("the template prints more than {} bytes", limits_.output_bytes);
  }
  VARVE_CHECKED(budget().take_bytes(text.size()));
  out_->text += text;
  out_->held.add(text.size());
  return {};
}

Result<void> Renderer::enter() {
  if (++depth_ <= kMaxDepth) return budget().take(1);
  return bad_input("macros and blocks run deeper than {}", kMaxDepth);
}

Result<Renderer::Flow> Renderer::execute(const Body& body) {
  for (const Statement& statement : body) {
    VARVE_TRY(const Flow flow, execute(statement));
    if (flow != Flow::onward) return flow;
  }
  return Flow::onward;
}

Result<Renderer::Flow> Renderer::execute(const Statement& statement) {
  VARVE_CHECKED(at_line(statement.line, enter()));
  const size_t unfinished = budget().unfinished();
  Result<Flow> flow =
      std::visit([&](const auto& node) { return execute(node, statement.line); }, statement.node);
  budget().set_unfinished(unfinished);
  --depth_;
  return at_line(statement.line, std::move(flow));
}

Result<Renderer::Flow> Renderer::execute(const DataStatement& node, int) {
  VARVE_CHECKED(print(node.text));
  return Flow::onward;
}

Result<Renderer::Flow> Renderer::execute(const OutputStatement& node, int) {
  VARVE_TRY(const Value value, evaluate(*node.value));
  VARVE_TRY(const std::string text, to_text(value, budget()));
  VARVE_CHECKED(print(text));
  return Flow::onward;
}

Result<Renderer::Flow> Renderer::execute(const IfStatement& node, int) {
  for (const auto& [condition, body] : node.branches) {
    VARVE_TRY(const Value value, evaluate(*condition));
    if (value.truth()) return execute(body);
  }
  return execute(node.otherwise);
}

// What the loop goes through: the items that its filter keeps.
Result<std::vector<Value>> Renderer::loop_items(const ForStatement& node, int line) {
  VARVE_TRY(const Value value, evaluate(*node.items));
  VARVE_TRY(std::vector<Value> items, items_of(value, budget()));
  if (node.filter == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    VARVE_CHECKED(at_line(line, budget().take(kStepsOfScope)));
    scopes_.emplace_back();
    VARVE_CHECKED(assign(node.target, item));
    VARVE_TRY(const Value passed, evaluate(*node.filter));
    scopes_.pop_back();
    if (passed.truth()) kept.push_back(std::move(item));
  }
  return kept;
}

Result<Renderer::Flow> Renderer::execute(const ForStatement& node, int line) {
  VARVE_TRY(std::vector<Value> found, loop_items(node, line));
  if (found.empty()) {
    scopes_.emplace_back();
    VARVE_TRY(const Flow flow, execute(node.otherwise));
    scopes_.pop_back();
    return flow;
  }
  int depth = 1;
  for (const Value& item : found) depth = std::max(depth, item.depth() + 1);
  const auto items = std::make_shared<const List>(List{std::move(found), ListKind::list, depth});
  for (size_t i = 0; i < items->items.size(); ++i) {
    VARVE_CHECKED(budget().take(kStepsOfScope));
    scopes_.emplace_back();
    define("loop", Value(std::make_shared<const Loop>(Loop{items, i})));
    VARVE_CHECKED(assign(node.target, items->items[i]));
    VARVE_TRY(const Flow flow, execute(node.body));
    scopes_.pop_back();
    if (flow == Flow::leave_loop) break;
  }
  return Flow::onward;
}

void Renderer::define(std::string_view name, Value value) {
  Scope& scope = scopes_.back();
  if (scope.names.insert_or_assign(name, std::move(value)).second) scope.held.add(kValueBytes);
}

Result<void> Renderer::assign(const Target& target, Value value) {
  if (!target.attribute.empty()) {
    Namespace* const space = variable(target.names[0]).name_space();
    if (space == nullptr) {
      return bad_input("expected a namespace in `{}.{} =`, found {}", target.names[0],
                       target.attribute, variable(target.names[0]).describe());
    }
    space->set(target.attribute, std::move(value));
    return {};
  }
  if (!target.is_spread) {
    define(target.names[0], std::move(value));
    return {};
  }
  VARVE_TRY(std::vector<Value> items, items_of(value, budget()));
  if (items.size() != target.names.size()) {
    return bad_input("expected {} values to spread, found {}", target.names.size(), items.size());
  }
  for (size_t i = 0; i < items.size(); ++i) define(target.names[i], std::move(items[i]));
  return {};
}

Result<Renderer::Flow> Renderer::execute(const SetStatement& node, int) {
  VARVE_TRY(Value value, evaluate(*node.value));
  VARVE_CHECKED(assign(node.target, std::move(value)));
  return Flow::onward;
}

Result<std::string> Renderer::captured(const Body& body) {
  Printed printed;
  Printed* const outer = std::exchange(out_, &printed);
  scopes_.emplace_back();
  VARVE_CHECKED(execute(body));
  scopes_.pop_back();
  out_ = outer;
  return std::move(printed.text);
}

Result<Renderer::Flow> Renderer::execute(const SetBlockStatement& node, int) {
  VARVE_TRY(std::string text, captured(node.body));
  Value value = Value::text(std::move(text));
  for (const SetBlockStatement::Filter& filter : node.filters) {
    VARVE_TRY(Arguments arguments, evaluate(filter.arguments));
    VARVE_TRY(value, apply(*filter.filter, value, std::move(arguments), budget()));
  }
  VARVE_CHECKED(assign(node.target, std::move(value)));
  return Flow::onward;
}

Result<Renderer::Flow> Renderer::execute(const std::unique_ptr<const MacroStatement>& node, int) {
  define(node->name, Value(node.get()));
  return Flow::onward;
}

Result<Renderer::Flow> Renderer::execute(const GenerationStatement& node, int) {
  scopes_.emplace_back();
  VARVE_CHECKED(execute(node.body));
  scopes_.pop_back();
  return Flow::onward;
}

Result<Renderer::Flow> Renderer::execute(const BreakStatement&, int) {
  return Flow::leave_loop;
}

Result<Renderer::Flow> Renderer::execute(const ContinueStatement&, int) {
  return Flow::next_turn;
}

// Into the newest scope; a default may name the parameters before it.
Result<void> Renderer::bind_parameters(const MacroStatement& macro, Arguments arguments) {
  if (arguments.positional.size() > macro.parameters.size()) {
    return bad_input("the macro `{}` takes {} arguments, found {}", macro.name,
                     macro.parameters.size(), arguments.positional.size());
  }
  Names named;
  for (auto& [name, value] : arguments.named) named[name] = std::move(value);
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    const auto found = named.find(name);
    if (i < arguments.positional.size()) {
      if (found != named.end()) {
        return bad_input("the macro `{}` is given its argument `{}` twice", macro.name, name);
      }
      define(name, std::move(arguments.positional[i]));
    } else if (found != named.end()) {
      define(name, std::move(found->second));
    } else if (fallback != nullptr) {
      VARVE_TRY(Value value, evaluate(*fallback));
      define(name, std::move(value));
    } else {
      define(name, Value::undefined(name));
    }
    if (found != named.end()) named.erase(found);
  }
  if (named.empty()) return {};
  return bad_input("the macro `{}` has no argument `{}`", macro.name, named.begin()->first);
}

Result<Value> Renderer::call_macro(const MacroStatement& macro, Arguments arguments) {
  VARVE_CHECKED(budget().take(kStepsOfScope));
  const size_t outer_first = std::exchange(first_scope_, scopes_.size());
  scopes_.emplace_back();
  VARVE_CHECKED(bind_parameters(macro, std::move(arguments)));
  VARVE_TRY(std::string text, captured(macro.body));
  scopes_.pop_back();
  first_scope_ = outer_first;
  return Value::text(std::move(text));
}

}  // namespace varve::jinja
