#include "chat/jinja/access.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/renderer.h"
#include "chat/jinja/value_tests.h"

namespace varve::jinja {

Result<Value> Renderer::evaluate(const Expression& expression) {
  VARVE_CHECKED(at_line(expression.line, enter()));
  const size_t unfinished = budget().unfinished();
  Result<Value> value =
      std::visit([&](const auto& node) { return evaluate(node); }, expression.node);
  budget().set_unfinished(unfinished);
  --depth_;
  return at_line(expression.line, std::move(value));
}

Result<Value> Renderer::evaluate(const ConstantNode& node) {
  return node.value;
}

// Scopes from the innermost outwards, then what the caller gave, then functions.
Value Renderer::variable(std::string_view name) const {
  for (size_t i = scopes_.size(); i-- > first_scope_;) {
    const auto found = scopes_[i].names.find(name);
    if (found != scopes_[i].names.end()) return found->second;
  }
  const auto found = scopes_[0].names.find(name);
  if (found != scopes_[0].names.end()) return found->second;
  if (const Value* const given = variables_.find(name)) return *given;
  if (const FunctionInfo* const function = find_function(name)) return Value(function);
  return Value::undefined(name);
}

Result<Value> Renderer::evaluate(const NameNode& node) {
  return variable(node.name);
}

Result<Value> Renderer::evaluate(const ListNode& node) {
  std::vector<Value> items;
  for (const ExpressionPtr& item : node.items) {
    VARVE_TRY(Value value, evaluate(*item));
    items.push_back(std::move(value));
  }
  return make_list(std::move(items), node.kind);
}

Result<Value> Renderer::evaluate(const DictNode& node) {
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key_node, value_node] : node.entries) {
    VARVE_TRY(Value key, evaluate(*key_node));
    VARVE_TRY(Value value, evaluate(*value_node));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return make_dict(std::move(entries));
}

Result<Value> Renderer::evaluate(const SignNode& node) {
  VARVE_TRY(const Value value, evaluate(*node.operand));
  if (node.is_negative) return negated(value);
  double number = 0;
  if (!value.number(number)) return bad_input("`+` does not apply to {}", value.describe());
  return value;
}

Result<Value> Renderer::evaluate(const NotNode& node) {
  VARVE_TRY(const Value value, evaluate(*node.operand));
  return Value(!value.truth());
}

Result<Value> Renderer::evaluate(const ArithmeticNode& node) {
  VARVE_TRY(const Value left, evaluate(*node.left));
  VARVE_TRY(const Value right, evaluate(*node.right));
  return arithmetic(node.op, left, right, budget());
}

Result<Value> Renderer::evaluate(const ConcatNode& node) {
  std::string text;
  for (const ExpressionPtr& part : node.parts) {
    VARVE_TRY(const Value value, evaluate(*part));
    VARVE_TRY(const std::string piece, to_text(value, budget()));
    text += piece;
  }
  return Value::text(std::move(text));
}

Result<Value> Renderer::evaluate(const LogicNode& node) {
  VARVE_TRY(Value left, evaluate(*node.left));
  if (left.truth() != node.is_and) return left;
  return evaluate(*node.right);
}

Result<Value> Renderer::evaluate(const CompareNode& node) {
  VARVE_TRY(Value left, evaluate(*node.first));
  for (const auto& [op, operand] : node.rest) {
    VARVE_TRY(Value right, evaluate(*operand));
    VARVE_TRY(const bool holds, compare(op, left, right, budget()));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Renderer::evaluate(const ConditionalNode& node) {
  VARVE_TRY(const Value condition, evaluate(*node.condition));
  if (condition.truth()) return evaluate(*node.then);
  return evaluate_or_undefined(node.otherwise);
}

Result<Value> Renderer::evaluate(const AttributeNode& node) {
  VARVE_TRY(const Value object, evaluate(*node.object));
  return attribute(object, node.name, budget());
}

Result<Value> Renderer::evaluate(const ItemNode& node) {
  VARVE_TRY(const Value object, evaluate(*node.object));
  VARVE_TRY(const Value key, evaluate(*node.key));
  return item(object, key, budget());
}

Result<Value> Renderer::evaluate_or_undefined(const ExpressionPtr& expression) {
  return expression == nullptr ? Result<Value>() : evaluate(*expression);
}

Result<Value> Renderer::evaluate(const SliceNode& node) {
  VARVE_TRY(const Value object, evaluate(*node.object));
  if (object.is_undefined()) return bad_input("a slice is asked of {}", object.describe());
  VARVE_TRY(const Value begin, evaluate_or_undefined(node.begin));
  VARVE_TRY(const Value end, evaluate_or_undefined(node.end));
  VARVE_TRY(const Value step, evaluate_or_undefined(node.step));
  return slice(object, begin, end, step, budget());
}

Result<Arguments> Renderer::evaluate(const ArgumentNodes& nodes) {
  Arguments arguments;
  for (const ExpressionPtr& node : nodes.positional) {
    VARVE_TRY(Value value, evaluate(*node));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, node] : nodes.named) {
    VARVE_TRY(Value value, evaluate(*node));
    arguments.named.emplace_back(name, std::move(value));
  }
  return arguments;
}

tl::unexpected<Error> Renderer::not_callable(const CallNode& node, const Value& callee) {
  const auto* const attribute_node = std::get_if<AttributeNode>(&node.callee->node);
  if (callee.is_undefined() && attribute_node != nullptr) {
    // Evaluated once more, for the message alone.
    const Result<Value> object = evaluate(*attribute_node->object);
    if (object && !method_names(*object).empty()) {
      return bad_input("{} has no method `{}` here; it has: {}", object->describe(),
                       attribute_node->name, method_names(*object));
    }
  }
  return bad_input("expected a function to call, found {}", callee.describe());
}

Result<Value> Renderer::evaluate(const CallNode& node) {
  VARVE_TRY(const Value callee, evaluate(*node.callee));
  if (!callee.is_callable()) return not_callable(node, callee);
  VARVE_TRY(Arguments arguments, evaluate(node.arguments));
  return call(callee, std::move(arguments));
}

Result<Value> Renderer::call(const Value& callee, Arguments arguments) {
  if (const Method* const method = callee.method()) {
    VARVE_TRY(const std::vector<Value> bound,
              bind(method->info->name, method->info->parameters, std::move(arguments)));
    return method->info->call(method->receiver, bound, budget());
  }
  if (const auto* const macro = callee.as<const MacroStatement*>()) {
    return call_macro(**macro, std::move(arguments));
  }
  return (*callee.as<const FunctionInfo*>())->call(arguments, environment_);
}

Result<Value> Renderer::evaluate(const FilterNode& node) {
  VARVE_TRY(const Value input, evaluate(*node.input));
  VARVE_TRY(Arguments arguments, evaluate(node.arguments));
  return apply(*node.filter, input, std::move(arguments), budget());
}

Result<Value> Renderer::evaluate(const TestNode& node) {
  VARVE_TRY(const Value value, evaluate(*node.value));
  VARVE_TRY(Arguments arguments, evaluate(node.arguments));
  VARVE_TRY(const bool holds, apply(*node.test, value, std::move(arguments), budget()));
  return Value(holds != node.is_negated);
}

}  // namespace varve::jinja
