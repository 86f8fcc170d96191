#include "chat/jinja/template.h"

#include <gtest/gtest.h>

#include <string>

#include "chat/jinja/json.h"

namespace varve::jinja {
namespace {

Value json(std::string_view text) {
  return from_json(text, "test").value();
}

Result<std::string> render(std::string_view source, std::string_view variables = "{}",
                           Limits limits = {}) {
  const auto parsed = Template::parse(source, "t");
  if (!parsed) return tl::unexpected<Error>(parsed.error());
  return parsed->render(*json(variables).dict(), 0, limits);
}

std::string refusal(std::string_view source, std::string_view variables = "{}",
                    Limits limits = {}) {
  const Result<std::string> text = render(source, variables, limits);
  return text ? "rendered: " + *text : text.error().message;
}

TEST(Template, PrintsTextExpressionsAndBlocks) {
  EXPECT_EQ(render("a{{ x }}b", R"({"x": [1, "y", null, 2.0]})").value(), "a[1, 'y', None, 2.0]b");
  EXPECT_EQ(render("{% for m in ms if m.on %}{{ loop.index }}{{ m.t }}{% endfor %}",
                   R"({"ms": [{"on": true, "t": "a"}, {"t": "b"}, {"on": 1, "t": "c"}]})")
                .value(),
            "1a2c");
  EXPECT_EQ(render("").value(), "");
}

TEST(Template, BlocksTakeTheirLinesWithThem) {
  EXPECT_EQ(render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n").value(), "a\n  b\nc");
  EXPECT_EQ(render("a {% if true %} b {% endif %}\n c").value(), "a  b  c");
  EXPECT_EQ(render("a\n {{- 1 -}} \n b").value(), "a1b");
  EXPECT_EQ(render("a\n {%+ if true +%}\nb{% endif %}").value(), "a\n \nb");
  EXPECT_EQ(render("a\r\n{# c #}\r\nb\r").value(), "a\nb");
}

TEST(Template, RefusalsNameTheLineAndWhatRuns) {
  EXPECT_EQ(refusal("a\n{% include 'x' %}"),
            "t: line 2: the statement \"include\" is not known; these run: if, for, set, macro, "
            "generation, break, continue, raw");
  EXPECT_TRUE(
      refusal("\n\n{{ x|wordwrap }}")
          .starts_with("t: line 3: the filter \"wordwrap\" is not known; these run: trim, "));
  EXPECT_TRUE(refusal("{{ x is prime }}")
                  .starts_with("t: line 1: the test \"prime\" is not known; these run: defined, "));
  EXPECT_TRUE(refusal("{{ 'x'.zfill(3) }}")
                  .starts_with("t: line 1: a string has no method `zfill` here; it has: strip, "));
  EXPECT_EQ(refusal("{{ messages[0].content }}"),
            "t: line 1: `[]` is asked of nothing (`messages` is not defined)");
  EXPECT_EQ(refusal("{{ raise_exception('Not so.') }}"),
            "t: line 1: the template refuses this conversation: Not so.");
  EXPECT_EQ(refusal("{% if x %}"),
            "t: line 1: expected `{% endif %}`, found the end of the template");
  EXPECT_EQ(refusal("{{ 'a }}"), "t: line 1: a string is not closed");
  EXPECT_EQ(refusal("{{ a ? b }}"), "t: line 1: unexpected character \"?\"");
  EXPECT_EQ(refusal("\xff"), "t: the template is not UTF-8");
  EXPECT_EQ(refusal("{% for x in l %}{% macro m() %}{% endmacro %}{% endfor %}"),
            "t: line 1: a macro inside a loop, a macro or a captured block is not known");
}

TEST(Template, CaseBeyondAsciiIsRefusedWhereItMatters) {
  EXPECT_EQ(render("{{ 'a中😀'.upper() }}").value(), "A中😀");
  EXPECT_EQ(refusal("{{ 'ß'|upper }}"),
            "t: line 1: upper and lower case are known for ASCII letters only");
}

TEST(Template, NothingChangesWhatWasMade) {
  EXPECT_TRUE(
      refusal("{% set l = [1] %}{{ l.append(2) }}")
          .starts_with("t: line 1: a list of 1 has no method `append` here; it has: count, "));
}

TEST(Template, ADateIsTheOneGiven) {
  EXPECT_TRUE(render("{{ strftime_now('%Y') }}").value().starts_with("19"));
}

// ---- hostile templates end with a sentence

TEST(TemplateLimits, Steps) {
  const std::string sentence = "the template takes more than 20000000 steps";
  const std::string loops =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  EXPECT_NE(refusal(loops).find(sentence), std::string::npos) << refusal(loops);
}

// Values that live at once are bounded, those of one operation too; what is gone counts no more.
TEST(TemplateLimits, Memory) {
  using std::string_literals::operator""s;
  const std::string sentence = "the template's values take more than 67108864 bytes";
  const auto repeated = [](int n, std::string_view text) {
    std::string all;
    for (int i = 0; i < n; ++i) all += text;
    return all;
  };
  for (const std::string& hostile :
       {"{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}"s,
        "{% set x = 'abcdefgh' %}" + repeated(60, "{% set x = x ~ x %}"),
        "{% set x = 'aaaaaaaa' %}" + repeated(60, "{% set x = x.replace('a', 'aaaaaaaaaa') %}"),
        "{% set x = [1] * 4000000 %}"s, "{{ ('x' * 2000000)|list }}"s,
        "{{ ('x ' * 2000000).split() }}"s, "{{ ('x' * 4000000).join(('y' * 100)|list) }}"s,
        "{{ ([1] * 2000000)|tojson(indent=100) }}"s,
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}"
        "{% set ns.l = namespace(a=ns.l, b=nothing, c=loop, d='x'.strip, e=[i], f={}) %}"
        "{% endfor %}"s,
        "{% macro m(n) %}" + repeated(20, "{% set x %}{{ 'x' * 4000000 }}") +
            repeated(20, "{% endset %}") + "{% endmacro %}{{ m(1) }}"}) {
    EXPECT_NE(refusal(hostile).find(sentence), std::string::npos)
        << hostile.substr(0, 100) << ": " << refusal(hostile).substr(0, 100);
  }
  const size_t before = HeldBytes::of_this_thread();
  EXPECT_EQ(render("{% for i in range(500) %}{% set x = 'x' * 400000 %}{% endfor %}", "{}",
                   {.held_bytes = 1'000'000})
                .value(),
            "");
  EXPECT_EQ(HeldBytes::of_this_thread(), before);
}

// A list whose parts are shared is small, and long when it is written out or compared.
TEST(TemplateLimits, SharedParts) {
  std::string shared = "{% set x = [1] %}{% set y = [1] %}";
  for (int i = 0; i < 60; ++i) shared += "{% set x = [x, x] %}{% set y = [y, y] %}";
  for (const char* const use :
       {"{{ x == y }}", "{{ x < y }}", "{{ x in [y] }}", "{{ [x, y]|unique|list|length }}"}) {
    EXPECT_NE(refusal(shared + use).find("more than 20000000 steps"), std::string::npos) << use;
  }
  for (const char* const use : {"{{ x }}", "{{ x|tojson }}"}) {
    EXPECT_NE(refusal(shared + use).find("more than 67108864 bytes"), std::string::npos) << use;
  }
}

TEST(TemplateLimits, Output) {
  EXPECT_EQ(refusal("{% for i in range(9) %}abc{% endfor %}", "{}", {.output_bytes = 20}),
            "t: line 1: the template prints more than 20 bytes");
}

TEST(TemplateLimits, Depth) {
  const auto repeated = [](std::string_view part, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += part;
    return text;
  };
  constexpr int kMany = 100'000;
  EXPECT_EQ(refusal("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
            "t: line 1: macros and blocks run deeper than 800");
  EXPECT_EQ(refusal("{{ " + repeated("(", kMany) + repeated(")", kMany) + " }}"),
            "t: line 1: expressions nest deeper than 64");
  EXPECT_EQ(refusal("{{ " + repeated("not ", kMany) + "1 }}"),
            "t: line 1: expressions nest deeper than 64");
  EXPECT_EQ(refusal("{{ " + repeated("-", kMany) + "1 }}"),
            "t: line 1: expressions nest deeper than 64");
  EXPECT_EQ(refusal("{{ 1" + repeated(" + 1", kMany) + " }}"),
            "t: line 1: an expression nests deeper than 200");
  EXPECT_EQ(refusal("{{ a" + repeated(".b", kMany) + " }}"),
            "t: line 1: an expression nests deeper than 200");
  EXPECT_EQ(refusal(repeated("{% if a %}", kMany)), "t: line 1: blocks nest deeper than 64");
  EXPECT_EQ(refusal("{% set n = namespace(l=[]) %}{% for i in range(200) %}{% set n.l = [n.l] %}"
                    "{% endfor %}"),
            "t: line 1: lists nest deeper than 100");
  EXPECT_EQ(refusal(std::string(kMaxTemplateBytes + 1, 'x')),
            "t: expected a template of at most 1048576 bytes, found 1048577");
}

TEST(TemplateLimits, NumbersThatDoNotFit) {
  EXPECT_EQ(refusal("{{ 9223372036854775807 + 1 }}"),
            "t: line 1: the result of `+` does not fit 64 bits");
  EXPECT_EQ(refusal("{{ 9223372036854775808 }}"),
            "t: line 1: 9223372036854775808 does not fit 64 bits");
  EXPECT_EQ(refusal("{{ 10 ** 99 }}"), "t: line 1: the result of `**` does not fit 64 bits");
  EXPECT_EQ(refusal("{{ 'x' * 99999999999 }}"), "t: line 1: `*` makes more than 4194304 items");
  EXPECT_EQ(refusal("{{ (-9223372036854775807 - 1) // -1 }}"),
            "t: line 1: the result of `-` does not fit 64 bits");
  EXPECT_EQ(render("{{ (-9223372036854775807 - 1) % -1 }}").value(), "0");
}

TEST(Json, IsReadAsItStands) {
  const Value value = json(R"({"b": 1, "a": {"x": [1.5, null, "é"]}, "b2": -3})");
  EXPECT_EQ(value.dict()->entries[0].first.text()->front(), 'b');  // in its order
  Budget budget({.steps = 1000});
  EXPECT_EQ(to_json(value, {}, budget).value(),
            R"({"b": 1, "a": {"x": [1.5, null, "é"]}, "b2": -3})");
  EXPECT_EQ(from_json("[1, 2", "f.json").error().kind, ErrorKind::bad_input);
  EXPECT_EQ(from_json("[18446744073709551615]", "f.json").error().message,
            "f.json: expected integers of at most 64 bits, found 18446744073709551615");
  std::string deep(1000, '[');
  EXPECT_EQ(from_json(deep, "f.json").error().message,
            "f.json: expected JSON nested at most 100 deep, found deeper");
}

}  // namespace
}  // namespace varve::jinja
