// A parsed template: expressions and statements.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "chat/jinja/operators.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

struct FilterInfo;
struct TestInfo;

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct ConstantNode {
  Value value;
};
struct NameNode {
  std::string name;
};
struct ListNode {
  std::vector<ExpressionPtr> items;
  ListKind kind;
};
struct DictNode {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct SignNode {
  bool is_negative;
  ExpressionPtr operand;
};
struct NotNode {
  ExpressionPtr operand;
};
struct ArithmeticNode {
  ArithmeticOp op;
  ExpressionPtr left, right;
};
struct ConcatNode {
  std::vector<ExpressionPtr> parts;
};
struct LogicNode {
  bool is_and;
  ExpressionPtr left, right;
};
/// first op operand op operand ...: all of them hold.
struct CompareNode {
  ExpressionPtr first;
  std::vector<std::pair<CompareOp, ExpressionPtr>> rest;
};
struct ConditionalNode {
  ExpressionPtr condition, then;
  ExpressionPtr otherwise;  // null: undefined
};
struct AttributeNode {
  ExpressionPtr object;
  std::string name;
};
struct ItemNode {
  ExpressionPtr object, key;
};
struct SliceNode {
  ExpressionPtr object;
  ExpressionPtr begin, end, step;  // null: left out
};
struct ArgumentNodes {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};
struct CallNode {
  ExpressionPtr callee;
  ArgumentNodes arguments;
};
struct FilterNode {
  ExpressionPtr input;
  const FilterInfo* filter;
  ArgumentNodes arguments;
};
struct TestNode {
  ExpressionPtr value;
  const TestInfo* test;
  ArgumentNodes arguments;
  bool is_negated;
};

struct Expression {
  using Node = std::variant<ConstantNode, NameNode, ListNode, DictNode, SignNode, NotNode,
                            ArithmeticNode, ConcatNode, LogicNode, CompareNode, ConditionalNode,
                            AttributeNode, ItemNode, SliceNode, CallNode, FilterNode, TestNode>;
  Node node;
  int line;
  int depth;  // of nesting; the parser bounds it, so that what walks the tree may recurse
};

struct Statement;
using Body = std::vector<Statement>;

/// What `set` and `for` write to: one name, several that a list is spread over, or an attribute of
/// a namespace.
struct Target {
  std::vector<std::string> names;
  bool is_spread = false;
  std::string attribute;  // of names[0], where not empty
};

struct DataStatement {
  std::string text;
};
struct OutputStatement {
  ExpressionPtr value;
};
struct IfStatement {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct ForStatement {
  Target target;
  ExpressionPtr items;
  ExpressionPtr filter;  // null: all
  Body body;
  Body otherwise;
};
struct SetStatement {
  Target target;
  ExpressionPtr value;
};
/// {% set x | filter %} ... {% endset %}
struct SetBlockStatement {
  Target target;
  struct Filter {
    const FilterInfo* filter;
    ArgumentNodes arguments;
  };
  std::vector<Filter> filters;
  Body body;
};
struct MacroStatement {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // default, or null
  Body body;
};
/// {% generation %}: marks what a model is trained on; here its body is printed.
struct GenerationStatement {
  Body body;
};
struct BreakStatement {};
struct ContinueStatement {};

struct Statement {
  using Node = std::variant<DataStatement, OutputStatement, IfStatement, ForStatement, SetStatement,
                            SetBlockStatement, std::unique_ptr<const MacroStatement>,
                            GenerationStatement, BreakStatement, ContinueStatement>;
  Node node;
  int line;
};

}  // namespace varve::jinja
