// The expressions of a template, by jinja2's grammar; statements are built on it (parser.cpp).
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"

namespace varve::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  using Parsed = Result<ExpressionPtr>;

  Parsed expression();
  /// One expression, or a tuple of several with commas between them. `for x in a if b` reads `a`
  /// without a condition of its own.
  Parsed tuple(bool with_condition);
  /// `| name(arguments)`, behind the bar.
  Result<SetBlockStatement::Filter> filter_call();

  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  int line() const { return now().line; }
  void advance() { at_ += now().kind == TokenKind::end ? 0 : 1; }
  bool at_op(std::string_view op) const { return now().is(TokenKind::op, op); }
  bool at_name(std::string_view name) const { return now().is(TokenKind::name, name); }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  Result<void> expect_op(std::string_view op);
  Result<void> expect_name(std::string_view name);
  Result<std::string> any_name();
  tl::unexpected<Error> unexpected(std::string_view wanted) const;

 private:
  Parsed condition();
  Parsed logic(bool is_and);
  Parsed negation();
  Parsed comparison();
  Parsed sum();
  Parsed concatenation();
  Parsed product();
  Parsed power();
  Parsed unary(bool with_filters);
  Parsed primary();
  Parsed constant_or_name();
  Parsed list();
  Parsed dict();
  Parsed postfix(ExpressionPtr value);
  Parsed filters_and_tests(ExpressionPtr value);
  Parsed filtered(ExpressionPtr value);
  Parsed tested(ExpressionPtr value);
  Parsed call(ExpressionPtr callee);
  Parsed dot(ExpressionPtr object);
  Parsed bracket(ExpressionPtr object);
  Result<ArgumentNodes> arguments();
  Result<std::string> dotted_name();
  bool ends_tuple() const;
  bool begins_test_argument() const;

  /// Error: nested too deep.
  static Parsed make(Expression::Node node, int line, int depth_below);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;  // of expressions that are being read
};

}  // namespace varve::jinja
