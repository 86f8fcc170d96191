// Runs a parsed template.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "chat/jinja/arguments.h"
#include "chat/jinja/ast.h"
#include "chat/jinja/functions.h"
#include "chat/jinja/template.h"

namespace varve::jinja {

class Renderer {
 public:
  /// `variables` has to outlive the renderer.
  Renderer(const Dict& variables, std::time_t now, Limits limits);

  /// Errors begin with the line that was run.
  Result<std::string> run(const Body& body);

 private:
  // Of statements and expressions that run within each other: a macro may call itself.
  static constexpr int kMaxDepth = 800;

  enum class Flow { onward, leave_loop, next_turn };
  using Names = std::unordered_map<std::string_view, Value>;
  struct Scope {
    Names names = {};
    HeldBytes held = {};
  };
  struct Printed {
    std::string text = {};
    HeldBytes held = {};
  };

  // Statements (render_statements.cpp).
  Result<Flow> execute(const Body& body);
  Result<Flow> execute(const Statement& statement);
  Result<Flow> execute(const DataStatement& node, int line);
  Result<Flow> execute(const OutputStatement& node, int line);
  Result<Flow> execute(const IfStatement& node, int line);
  Result<Flow> execute(const ForStatement& node, int line);
  Result<Flow> execute(const SetStatement& node, int line);
  Result<Flow> execute(const SetBlockStatement& node, int line);
  Result<Flow> execute(const std::unique_ptr<const MacroStatement>& node, int line);
  Result<Flow> execute(const GenerationStatement& node, int line);
  static Result<Flow> execute(const BreakStatement& node, int line);
  static Result<Flow> execute(const ContinueStatement& node, int line);
  Result<std::vector<Value>> loop_items(const ForStatement& node, int line);
  Result<void> assign(const Target& target, Value value);
  Result<void> print(std::string_view text);
  /// What a body prints, in a scope of its own.
  Result<std::string> captured(const Body& body);
  Result<Value> call_macro(const MacroStatement& macro, Arguments arguments);
  Result<void> bind_parameters(const MacroStatement& macro, Arguments arguments);

  // Expressions (render_expressions.cpp).
  Result<Value> evaluate(const Expression& expression);
  Result<Value> evaluate(const ConstantNode& node);
  Result<Value> evaluate(const NameNode& node);
  Result<Value> evaluate(const ListNode& node);
  Result<Value> evaluate(const DictNode& node);
  Result<Value> evaluate(const SignNode& node);
  Result<Value> evaluate(const NotNode& node);
  Result<Value> evaluate(const ArithmeticNode& node);
  Result<Value> evaluate(const ConcatNode& node);
  Result<Value> evaluate(const LogicNode& node);
  Result<Value> evaluate(const CompareNode& node);
  Result<Value> evaluate(const ConditionalNode& node);
  Result<Value> evaluate(const AttributeNode& node);
  Result<Value> evaluate(const ItemNode& node);
  Result<Value> evaluate(const SliceNode& node);
  Result<Value> evaluate(const CallNode& node);
  Result<Value> evaluate(const FilterNode& node);
  Result<Value> evaluate(const TestNode& node);
  Result<Value> evaluate_or_undefined(const ExpressionPtr& expression);
  Result<Arguments> evaluate(const ArgumentNodes& nodes);
  Result<Value> call(const Value& callee, Arguments arguments);
  tl::unexpected<Error> not_callable(const CallNode& node, const Value& callee);
  Value variable(std::string_view name) const;
  /// Sets a variable of the innermost scope.
  void define(std::string_view name, Value value);

  /// Goes one level deeper, which costs a step.
  Result<void> enter();

  /// An error begins with the innermost line that it happened on.
  template <class T>
  Result<T> at_line(int line, Result<T> result);

  Budget& budget() { return environment_.budget; }

  const Dict& variables_;
  const Limits limits_;
  Environment environment_;
  std::vector<Scope> scopes_;  // [0] is the template's own
  size_t first_scope_ = 0;     // of the macro that runs: those before it are not seen, but [0]
  int depth_ = 0;              // of calls of execute and evaluate within each other
  bool error_has_line_ = false;
  Printed* out_ = nullptr;
};

template <class T>
Result<T> Renderer::at_line(int line, Result<T> result) {
  if (result || error_has_line_) return result;
  error_has_line_ = true;  // an error ends the rendering: there is one
  Error error = std::move(result).error();
  error.message = fmt::format("line {}: {}", line, error.message);
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace varve::jinja
