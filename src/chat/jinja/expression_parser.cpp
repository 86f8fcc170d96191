#include "chat/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "chat/jinja/filters.h"
#include "chat/jinja/value_tests.h"
#include "tokenizer/quote.h"

namespace varve::jinja {
namespace {

// Of expressions within each other, and of chains like a + b + c.
constexpr int kMaxNesting = 64;
constexpr int kMaxDepth = 200;

constexpr std::array<std::pair<std::string_view, CompareOp>, 6> kComparisons = {
    {{"==", CompareOp::equal},
     {"!=", CompareOp::unequal},
     {"<", CompareOp::less},
     {"<=", CompareOp::less_equal},
     {">", CompareOp::greater},
     {">=", CompareOp::greater_equal}}};

int depth_of(const ExpressionPtr& expression) {
  return expression == nullptr ? 0 : expression->depth;
}

int depth_of(const std::vector<ExpressionPtr>& expressions) {
  int depth = 0;
  for (const ExpressionPtr& expression : expressions) depth = std::max(depth, depth_of(expression));
  return depth;
}

int depth_of(const ArgumentNodes& arguments) {
  int depth = depth_of(arguments.positional);
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, depth_of(value));
  return depth;
}

std::string shown(const Token& token) {
  switch (token.kind) {
    case TokenKind::data:
      return "text";
    case TokenKind::variable_begin:
      return "`{{`";
    case TokenKind::variable_end:
      return "`}}`";
    case TokenKind::block_begin:
      return "`{%`";
    case TokenKind::block_end:
      return "`%}`";
    case TokenKind::string:
      return in_quotes(token.text);
    case TokenKind::end:
      return "the end of the template";
    default:
      break;
  }
  return fmt::format("`{}`", token.text);
}

// Counts one level more while it lives.
class Level {
 public:
  explicit Level(int& level) : level_(++level) {}
  ~Level() { --level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& level_;
};

}  // namespace

// ---- tokens

bool ExpressionParser::skip_op(std::string_view op) {
  if (!at_op(op)) return false;
  advance();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!at_name(name)) return false;
  advance();
  return true;
}

Result<void> ExpressionParser::expect_op(std::string_view op) {
  if (skip_op(op)) return {};
  return unexpected(fmt::format("`{}`", op));
}

Result<void> ExpressionParser::expect_name(std::string_view name) {
  if (skip_name(name)) return {};
  return unexpected(fmt::format("`{}`", name));
}

Result<std::string> ExpressionParser::any_name() {
  if (now().kind != TokenKind::name) return unexpected("a name");
  std::string name = now().text;
  advance();
  return name;
}

tl::unexpected<Error> ExpressionParser::unexpected(std::string_view wanted) const {
  return bad_input("line {}: expected {}, found {}", line(), wanted, shown(now()));
}

ExpressionParser::Parsed ExpressionParser::make(Expression::Node node, int line, int depth_below) {
  if (depth_below >= kMaxDepth) {
    return bad_input("line {}: an expression nests deeper than {}", line, kMaxDepth);
  }
  return std::make_unique<const Expression>(Expression{std::move(node), line, depth_below + 1});
}

// ---- from the weakest operator to the strongest

ExpressionParser::Parsed ExpressionParser::expression() {
  return condition();
}

ExpressionParser::Parsed ExpressionParser::condition() {
  const Level level(nesting_);
  if (nesting_ > kMaxNesting) {
    return bad_input("line {}: expressions nest deeper than {}", line(), kMaxNesting);
  }
  VARVE_TRY(ExpressionPtr value, logic(false));
  while (at_name("if")) {
    const int at_line = line();
    advance();
    VARVE_TRY(ExpressionPtr test, logic(false));
    ExpressionPtr otherwise;
    if (skip_name("else")) {
      VARVE_TRY(otherwise, condition());
    }
    const int depth = std::max({depth_of(value), depth_of(test), depth_of(otherwise)});
    VARVE_TRY(value, make(ConditionalNode{std::move(test), std::move(value), std::move(otherwise)},
                          at_line, depth));
  }
  return value;
}

ExpressionParser::Parsed ExpressionParser::logic(bool is_and) {
  VARVE_TRY(ExpressionPtr left, is_and ? negation() : logic(true));
  while (at_name(is_and ? "and" : "or")) {
    const int at_line = line();
    advance();
    VARVE_TRY(ExpressionPtr right, is_and ? negation() : logic(true));
    const int depth = std::max(depth_of(left), depth_of(right));
    VARVE_TRY(left, make(LogicNode{is_and, std::move(left), std::move(right)}, at_line, depth));
  }
  return left;
}

ExpressionParser::Parsed ExpressionParser::negation() {
  if (!at_name("not")) return comparison();
  const Level level(nesting_);
  if (nesting_ > kMaxNesting) {
    return bad_input("line {}: expressions nest deeper than {}", line(), kMaxNesting);
  }
  const int at_line = line();
  advance();
  VARVE_TRY(ExpressionPtr operand, negation());
  const int depth = depth_of(operand);
  return make(NotNode{std::move(operand)}, at_line, depth);
}

ExpressionParser::Parsed ExpressionParser::comparison() {
  const int at_line = line();
  VARVE_TRY(ExpressionPtr first, sum());
  CompareNode node;
  int depth = depth_of(first);
  while (true) {
    CompareOp op = CompareOp::in;
    const auto* const found = std::find_if(kComparisons.begin(), kComparisons.end(),
                                           [&](const auto& entry) { return at_op(entry.first); });
    if (found != kComparisons.end()) {
      op = found->second;
    } else if (at_name("not") && next().is(TokenKind::name, "in")) {
      op = CompareOp::not_in;
      advance();
    } else if (!at_name("in")) {
      break;
    }
    advance();
    VARVE_TRY(ExpressionPtr operand, sum());
    depth = std::max(depth, depth_of(operand));
    node.rest.emplace_back(op, std::move(operand));
  }
  if (node.rest.empty()) return first;
  node.first = std::move(first);
  return make(std::move(node), at_line, depth);
}

ExpressionParser::Parsed ExpressionParser::sum() {
  VARVE_TRY(ExpressionPtr left, concatenation());
  while (at_op("+") || at_op("-")) {
    const ArithmeticOp op = at_op("+") ? ArithmeticOp::add : ArithmeticOp::subtract;
    const int at_line = line();
    advance();
    VARVE_TRY(ExpressionPtr right, concatenation());
    const int depth = std::max(depth_of(left), depth_of(right));
    VARVE_TRY(left, make(ArithmeticNode{op, std::move(left), std::move(right)}, at_line, depth));
  }
  return left;
}

ExpressionParser::Parsed ExpressionParser::concatenation() {
  const int at_line = line();
  VARVE_TRY(ExpressionPtr first, product());
  if (!at_op("~")) return first;
  ConcatNode node;
  node.parts.push_back(std::move(first));
  while (skip_op("~")) {
    VARVE_TRY(ExpressionPtr part, product());
    node.parts.push_back(std::move(part));
  }
  const int depth = depth_of(node.parts);
  return make(std::move(node), at_line, depth);
}

ExpressionParser::Parsed ExpressionParser::product() {
  VARVE_TRY(ExpressionPtr left, power());
  while (at_op("*") || at_op("/") || at_op("//") || at_op("%")) {
    const ArithmeticOp op = at_op("*")    ? ArithmeticOp::multiply
                            : at_op("/")  ? ArithmeticOp::divide
                            : at_op("//") ? ArithmeticOp::floor_divide
                                          : ArithmeticOp::modulo;
    const int at_line = line();
    advance();
    VARVE_TRY(ExpressionPtr right, power());
    const int depth = std::max(depth_of(left), depth_of(right));
    VARVE_TRY(left, make(ArithmeticNode{op, std::move(left), std::move(right)}, at_line, depth));
  }
  return left;
}

ExpressionParser::Parsed ExpressionParser::power() {
  VARVE_TRY(ExpressionPtr left, unary(true));
  while (at_op("**")) {
    const int at_line = line();
    advance();
    VARVE_TRY(ExpressionPtr right, unary(true));
    const int depth = std::max(depth_of(left), depth_of(right));
    VARVE_TRY(left, make(ArithmeticNode{ArithmeticOp::power, std::move(left), std::move(right)},
                         at_line, depth));
  }
  return left;
}

ExpressionParser::Parsed ExpressionParser::unary(bool with_filters) {
  const Level level(nesting_);
  if (nesting_ > kMaxNesting) {
    return bad_input("line {}: expressions nest deeper than {}", line(), kMaxNesting);
  }
  ExpressionPtr value;
  if (at_op("-") || at_op("+")) {
    const bool is_negative = at_op("-");
    const int at_line = line();
    advance();
    VARVE_TRY(ExpressionPtr operand, unary(false));
    const int depth = depth_of(operand);
    VARVE_TRY(value, make(SignNode{is_negative, std::move(operand)}, at_line, depth));
  } else {
    VARVE_TRY(value, primary());
  }
  VARVE_TRY(value, postfix(std::move(value)));
  return with_filters ? filters_and_tests(std::move(value)) : Parsed(std::move(value));
}

// ---- what stands by itself

ExpressionParser::Parsed ExpressionParser::primary() {
  const int at_line = line();
  switch (now().kind) {
    case TokenKind::name:
    case TokenKind::integer:
    case TokenKind::floating:
      return constant_or_name();
    case TokenKind::string: {
      std::string text;
      while (now().kind == TokenKind::string) {  // strings side by side are one
        text += now().text;
        advance();
      }
      return make(ConstantNode{Value::text(std::move(text))}, at_line, 0);
    }
    default:
      break;
  }
  if (at_op("[")) return list();
  if (at_op("{")) return dict();
  if (!skip_op("(")) return unexpected("a value");
  if (skip_op(")")) return make(ListNode{{}, ListKind::tuple}, at_line, 0);
  VARVE_TRY(ExpressionPtr value, tuple(true));
  VARVE_CHECKED(expect_op(")"));
  return value;
}

ExpressionParser::Parsed ExpressionParser::constant_or_name() {
  const Token token = now();
  advance();
  const auto constant = [&](Value value) {
    return make(ConstantNode{std::move(value)}, token.line, 0);
  };
  const char* const begin = token.text.data();
  const char* const end = begin + token.text.size();
  if (token.kind == TokenKind::integer) {
    int64_t value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc()) {
      return bad_input("line {}: {} does not fit 64 bits", token.line, token.text);
    }
    return constant(Value(value));
  }
  if (token.kind == TokenKind::floating) {
    double value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc()) {
      return bad_input("line {}: {} is out of range", token.line, token.text);
    }
    return constant(Value(value));
  }
  if (token.text == "true" || token.text == "True") return constant(Value(true));
  if (token.text == "false" || token.text == "False") return constant(Value(false));
  if (token.text == "none" || token.text == "None") return constant(Value::none());
  return make(NameNode{token.text}, token.line, 0);
}

bool ExpressionParser::ends_tuple() const {
  return now().kind == TokenKind::variable_end || now().kind == TokenKind::block_end || at_op(")");
}

ExpressionParser::Parsed ExpressionParser::tuple(bool with_condition) {
  const int at_line = line();
  std::vector<ExpressionPtr> items;
  bool has_comma = false;
  while (!(has_comma && ends_tuple())) {
    VARVE_TRY(ExpressionPtr item, with_condition ? condition() : logic(false));
    items.push_back(std::move(item));
    if (!at_op(",")) break;
    has_comma = true;
    advance();
  }
  if (!has_comma) return std::move(items.front());
  const int depth = depth_of(items);
  return make(ListNode{std::move(items), ListKind::tuple}, at_line, depth);
}

ExpressionParser::Parsed ExpressionParser::list() {
  const int at_line = line();
  VARVE_CHECKED(expect_op("["));
  std::vector<ExpressionPtr> items;
  while (!at_op("]")) {
    VARVE_TRY(ExpressionPtr item, condition());
    items.push_back(std::move(item));
    if (!skip_op(",")) break;
  }
  VARVE_CHECKED(expect_op("]"));
  const int depth = depth_of(items);
  return make(ListNode{std::move(items), ListKind::list}, at_line, depth);
}

ExpressionParser::Parsed ExpressionParser::dict() {
  const int at_line = line();
  VARVE_CHECKED(expect_op("{"));
  DictNode node;
  int depth = 0;
  while (!at_op("}")) {
    VARVE_TRY(ExpressionPtr key, condition());
    VARVE_CHECKED(expect_op(":"));
    VARVE_TRY(ExpressionPtr value, condition());
    depth = std::max({depth, depth_of(key), depth_of(value)});
    node.entries.emplace_back(std::move(key), std::move(value));
    if (!skip_op(",")) break;
  }
  VARVE_CHECKED(expect_op("}"));
  return make(std::move(node), at_line, depth);
}

// ---- what follows a value

ExpressionParser::Parsed ExpressionParser::postfix(ExpressionPtr value) {
  while (true) {
    if (at_op(".")) {
      VARVE_TRY(value, dot(std::move(value)));
    } else if (at_op("[")) {
      VARVE_TRY(value, bracket(std::move(value)));
    } else if (at_op("(")) {
      VARVE_TRY(value, call(std::move(value)));
    } else {
      return value;
    }
  }
}

ExpressionParser::Parsed ExpressionParser::filters_and_tests(ExpressionPtr value) {
  while (true) {
    if (skip_op("|")) {
      VARVE_TRY(value, filtered(std::move(value)));
    } else if (skip_name("is")) {
      VARVE_TRY(value, tested(std::move(value)));
    } else if (at_op("(")) {
      VARVE_TRY(value, call(std::move(value)));
    } else {
      return value;
    }
  }
}

ExpressionParser::Parsed ExpressionParser::dot(ExpressionPtr object) {
  const int at_line = line();
  VARVE_CHECKED(expect_op("."));
  const int depth = depth_of(object);
  if (now().kind == TokenKind::integer) {
    VARVE_TRY(ExpressionPtr key, constant_or_name());
    return make(ItemNode{std::move(object), std::move(key)}, at_line, depth);
  }
  VARVE_TRY(std::string name, any_name());
  return make(AttributeNode{std::move(object), std::move(name)}, at_line, depth);
}

ExpressionParser::Parsed ExpressionParser::bracket(ExpressionPtr object) {
  const int at_line = line();
  VARVE_CHECKED(expect_op("["));
  std::array<ExpressionPtr, 3> parts;
  size_t n_colons = 0;
  while (!at_op("]")) {
    if (at_op(":")) {
      if (++n_colons > 2) return unexpected("`]`");
      advance();
      continue;
    }
    if (parts[n_colons] != nullptr) return unexpected("`]`");
    VARVE_TRY(parts[n_colons], condition());
  }
  VARVE_CHECKED(expect_op("]"));
  int depth = depth_of(object);
  for (const ExpressionPtr& part : parts) depth = std::max(depth, depth_of(part));
  if (n_colons > 0) {
    return make(
        SliceNode{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])},
        at_line, depth);
  }
  if (parts[0] == nullptr) return bad_input("line {}: expected a key in `[]`", at_line);
  return make(ItemNode{std::move(object), std::move(parts[0])}, at_line, depth);
}

Result<ArgumentNodes> ExpressionParser::arguments() {
  VARVE_CHECKED(expect_op("("));
  ArgumentNodes nodes;
  while (!at_op(")")) {
    if (at_op("*") || at_op("**")) {
      return bad_input("line {}: arguments given as a whole (`{}`) are not known here", line(),
                       now().text);
    }
    if (now().kind == TokenKind::name && next().is(TokenKind::op, "=")) {
      VARVE_TRY(std::string name, any_name());
      VARVE_CHECKED(expect_op("="));
      VARVE_TRY(ExpressionPtr value, condition());
      nodes.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!nodes.named.empty()) return unexpected("a named argument");
      VARVE_TRY(ExpressionPtr value, condition());
      nodes.positional.push_back(std::move(value));
    }
    if (!skip_op(",")) break;
  }
  VARVE_CHECKED(expect_op(")"));
  return nodes;
}

ExpressionParser::Parsed ExpressionParser::call(ExpressionPtr callee) {
  const int at_line = line();
  VARVE_TRY(ArgumentNodes nodes, arguments());
  const int depth = std::max(depth_of(callee), depth_of(nodes));
  return make(CallNode{std::move(callee), std::move(nodes)}, at_line, depth);
}

Result<std::string> ExpressionParser::dotted_name() {
  VARVE_TRY(std::string name, any_name());
  while (skip_op(".")) {
    VARVE_TRY(const std::string part, any_name());
    name += "." + part;
  }
  return name;
}

Result<SetBlockStatement::Filter> ExpressionParser::filter_call() {
  const int at_line = line();
  VARVE_TRY(const std::string name, dotted_name());
  SetBlockStatement::Filter out = {find_filter(name), {}};
  if (out.filter == nullptr) {
    return bad_input("line {}: the filter {} is not known; these run: {}", at_line, in_quotes(name),
                     filter_names());
  }
  if (at_op("(")) {
    VARVE_TRY(out.arguments, arguments());
  }
  return out;
}

ExpressionParser::Parsed ExpressionParser::filtered(ExpressionPtr value) {
  const int at_line = line();
  VARVE_TRY(SetBlockStatement::Filter call, filter_call());
  const int depth = std::max(depth_of(value), depth_of(call.arguments));
  return make(FilterNode{std::move(value), call.filter, std::move(call.arguments)}, at_line, depth);
}

// `x is divisibleby 3`: one argument may stand without brackets.
bool ExpressionParser::begins_test_argument() const {
  switch (now().kind) {
    case TokenKind::name:
      return !at_name("else") && !at_name("or") && !at_name("and") && !at_name("if") &&
             !at_name("in") && !at_name("not");
    case TokenKind::string:
    case TokenKind::integer:
    case TokenKind::floating:
      return true;
    default:
      return at_op("(") || at_op("[") || at_op("{");
  }
}

ExpressionParser::Parsed ExpressionParser::tested(ExpressionPtr value) {
  const int at_line = line();
  const bool is_negated = skip_name("not");
  VARVE_TRY(const std::string name, dotted_name());
  const TestInfo* const test = find_test(name);
  if (test == nullptr) {
    return bad_input("line {}: the test {} is not known; these run: {}", at_line, in_quotes(name),
                     test_names());
  }
  ArgumentNodes nodes;
  if (at_op("(")) {
    VARVE_TRY(nodes, arguments());
  } else if (at_name("is")) {
    return unexpected("no second test, or brackets around the first");
  } else if (begins_test_argument()) {
    VARVE_TRY(ExpressionPtr argument, primary());
    VARVE_TRY(argument, postfix(std::move(argument)));
    nodes.positional.push_back(std::move(argument));
  }
  const int depth = std::max(depth_of(value), depth_of(nodes));
  return make(TestNode{std::move(value), test, std::move(nodes), is_negated}, at_line, depth);
}

}  // namespace varve::jinja
