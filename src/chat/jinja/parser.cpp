#include "chat/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "chat/jinja/expression_parser.h"
#include "chat/jinja/filters.h"
#include "tokenizer/quote.h"

namespace varve::jinja {
namespace {

constexpr int kMaxBlocks = 64;  // within each other

constexpr std::string_view kStatements = "if, for, set, macro, generation, break, continue, raw";

class Parser : public ExpressionParser {
 public:
  explicit Parser(std::vector<Token> tokens) : ExpressionParser(std::move(tokens)) {}

  Result<Body> whole_template() {
    VARVE_TRY(Body body, statements({}));
    if (now().kind != TokenKind::end) return unexpected("the end of the template");
    return body;
  }

 private:
  using Words = std::initializer_list<std::string_view>;

  /// Statements up to a block that begins with one of `ends` (whose word stands at now() then), or
  /// to the end of the template where `ends` is empty.
  Result<Body> statements(Words ends);
  /// What a block holds, and the rest of its closing tag.
  Result<Body> body_until(std::string_view end);
  Result<Statement> block();
  Result<Statement::Node> block_node(const std::string& word, int line);
  Result<Statement::Node> if_block();
  Result<Statement::Node> for_block();
  Result<Statement::Node> set_block();
  Result<Statement::Node> macro_block(int line);
  Result<Statement::Node> generation_block();
  Result<Statement::Node> loop_control(const std::string& word, int line);
  Result<Target> target(bool takes_attribute);
  Result<void> end_tag();

  int n_blocks_ = 0;    // around now()
  int n_loops_ = 0;     // that `break` may leave
  bool is_top_ = true;  // where macros stand: not in loops, macros or captured blocks
};

Result<void> Parser::end_tag() {
  if (now().kind != TokenKind::block_end) return unexpected("`%}`");
  advance();
  return {};
}

Result<Body> Parser::statements(Words ends) {
  Body body;
  while (true) {
    const int at_line = line();
    if (now().kind == TokenKind::end) {
      if (ends.size() == 0) return body;
      return unexpected(fmt::format("`{{% {} %}}`", *(ends.end() - 1)));
    }
    if (now().kind == TokenKind::data) {
      body.push_back({DataStatement{now().text}, at_line});
      advance();
    } else if (now().kind == TokenKind::variable_begin) {
      advance();
      VARVE_TRY(ExpressionPtr value, tuple(true));
      if (now().kind != TokenKind::variable_end) return unexpected("`}}`");
      advance();
      body.push_back({OutputStatement{std::move(value)}, at_line});
    } else {
      advance();  // a block begins: nothing else stands outside of tags
      if (std::any_of(ends.begin(), ends.end(), [&](auto word) { return at_name(word); })) {
        return body;
      }
      VARVE_TRY(Statement statement, block());
      body.push_back(std::move(statement));
    }
  }
}

Result<Body> Parser::body_until(std::string_view end) {
  VARVE_CHECKED(end_tag());
  VARVE_TRY(Body body, statements({end}));
  advance();
  VARVE_CHECKED(end_tag());
  return body;
}

Result<Statement> Parser::block() {
  const int at_line = line();
  VARVE_TRY(const std::string word, any_name());
  if (n_blocks_ == kMaxBlocks) {
    return bad_input("line {}: blocks nest deeper than {}", at_line, kMaxBlocks);
  }
  ++n_blocks_;
  VARVE_TRY(Statement::Node node, block_node(word, at_line));
  --n_blocks_;
  return Statement{std::move(node), at_line};
}

Result<Statement::Node> Parser::block_node(const std::string& word, int line) {
  if (word == "if") return if_block();
  if (word == "for") return for_block();
  if (word == "set") return set_block();
  if (word == "macro") return macro_block(line);
  if (word == "generation") return generation_block();
  if (word == "break" || word == "continue") return loop_control(word, line);
  return bad_input("line {}: the statement {} is not known; these run: {}", line, in_quotes(word),
                   kStatements);
}

Result<Statement::Node> Parser::if_block() {
  IfStatement node;
  while (true) {
    VARVE_TRY(ExpressionPtr condition, tuple(false));
    VARVE_CHECKED(end_tag());
    VARVE_TRY(Body body, statements({"elif", "else", "endif"}));
    node.branches.emplace_back(std::move(condition), std::move(body));
    if (skip_name("elif")) continue;
    if (skip_name("else")) {
      VARVE_TRY(node.otherwise, body_until("endif"));
    } else {
      VARVE_CHECKED(expect_name("endif"));
      VARVE_CHECKED(end_tag());
    }
    return node;
  }
}

Result<Target> Parser::target(bool takes_attribute) {
  Target out;
  const bool has_brackets = skip_op("(");
  do {
    if (now().kind != TokenKind::name && !out.names.empty()) break;  // (a,)
    VARVE_TRY(std::string name, any_name());
    out.names.push_back(std::move(name));
    if (takes_attribute && out.names.size() == 1 && skip_op(".")) {
      VARVE_TRY(out.attribute, any_name());
      return out;
    }
    out.is_spread = out.is_spread || at_op(",");
  } while (skip_op(","));
  if (has_brackets) VARVE_CHECKED(expect_op(")"));
  for (const std::string& name : out.names) {
    const bool is_constant = name == "true" || name == "True" || name == "false" ||
                             name == "False" || name == "none" || name == "None";
    // A loop's turns write `loop` themselves.
    if (is_constant || (name == "loop" && !takes_attribute)) {
      return bad_input("line {}: `{}` cannot be written to", line(), name);
    }
  }
  return out;
}

Result<Statement::Node> Parser::for_block() {
  ForStatement node;
  VARVE_TRY(node.target, target(false));
  VARVE_CHECKED(expect_name("in"));
  VARVE_TRY(node.items, tuple(false));
  if (skip_name("if")) {
    VARVE_TRY(node.filter, expression());
  }
  if (at_name("recursive")) {
    return bad_input("line {}: `recursive` loops are not known", line());
  }
  VARVE_CHECKED(end_tag());
  const bool was_top = std::exchange(is_top_, false);
  ++n_loops_;
  VARVE_TRY(node.body, statements({"else", "endfor"}));
  --n_loops_;
  if (skip_name("else")) {
    VARVE_TRY(node.otherwise, body_until("endfor"));
  } else {
    VARVE_CHECKED(expect_name("endfor"));
    VARVE_CHECKED(end_tag());
  }
  is_top_ = was_top;
  return node;
}

Result<Statement::Node> Parser::set_block() {
  VARVE_TRY(Target names, target(true));
  if (skip_op("=")) {
    VARVE_TRY(ExpressionPtr value, tuple(true));
    VARVE_CHECKED(end_tag());
    return SetStatement{std::move(names), std::move(value)};
  }
  if (names.is_spread) return unexpected("`=`");
  SetBlockStatement node;
  node.target = std::move(names);
  while (skip_op("|")) {
    VARVE_TRY(SetBlockStatement::Filter filter, filter_call());
    node.filters.push_back(std::move(filter));
  }
  const bool was_top = std::exchange(is_top_, false);
  const int loops_around = std::exchange(n_loops_, 0);
  VARVE_TRY(node.body, body_until("endset"));
  is_top_ = was_top;
  n_loops_ = loops_around;
  return node;
}

Result<Statement::Node> Parser::macro_block(int line) {
  if (!is_top_) {
    return bad_input("line {}: a macro inside a loop, a macro or a captured block is not known",
                     line);
  }
  auto node = std::make_unique<MacroStatement>();
  VARVE_TRY(node->name, any_name());
  VARVE_CHECKED(expect_op("("));
  while (!at_op(")")) {
    VARVE_TRY(std::string name, any_name());
    ExpressionPtr value;
    if (skip_op("=")) {
      VARVE_TRY(value, expression());
    } else if (!node->parameters.empty() && node->parameters.back().second != nullptr) {
      return unexpected("a default for this parameter too");
    }
    node->parameters.emplace_back(std::move(name), std::move(value));
    if (!skip_op(",")) break;
  }
  VARVE_CHECKED(expect_op(")"));
  is_top_ = false;
  VARVE_TRY(node->body, body_until("endmacro"));
  is_top_ = true;
  return std::unique_ptr<const MacroStatement>(std::move(node));
}

Result<Statement::Node> Parser::generation_block() {
  const bool was_top = std::exchange(is_top_, false);
  const int loops_around = std::exchange(n_loops_, 0);
  VARVE_TRY(Body body, body_until("endgeneration"));
  is_top_ = was_top;
  n_loops_ = loops_around;
  return GenerationStatement{std::move(body)};
}

Result<Statement::Node> Parser::loop_control(const std::string& word, int line) {
  if (n_loops_ == 0) return bad_input("line {}: `{}` outside of a loop", line, word);
  VARVE_CHECKED(end_tag());
  if (word == "break") return BreakStatement{};
  return ContinueStatement{};
}

}  // namespace

Result<Body> parse(std::vector<Token> tokens) {
  return Parser(std::move(tokens)).whole_template();
}

}  // namespace varve::jinja
