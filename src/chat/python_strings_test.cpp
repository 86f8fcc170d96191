#include "chat/python_strings.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

std::string value(std::string_view source) {
  return python_string(source, "A", "m.py").value().value_or("(none)");
}
std::string refusal(std::string_view source) {
  return python_string(source, "A", "m.py").error().message;
}

TEST(PythonStrings, Assignments) {
  EXPECT_EQ(value("A = 'x'"), "x");
  EXPECT_EQ(value("import a\nA: str = \"x\"  # y\nB = 'z'\n"), "x");
  EXPECT_EQ(value("A=(\n  'x\\n'  # one\n\n  \"y\"\n)\n"), "x\ny");
  EXPECT_EQ(value("A = 'x' \\\n  'y'; B = 1"), "xy");
  EXPECT_EQ(value("A = \"\"\"x\n\"y\" \\\nz\"\"\"\r\n"), "x\n\"y\" z");
  EXPECT_EQ(value("A = ''"), "");
}

TEST(PythonStrings, TheLastAssignmentCounts) {
  EXPECT_EQ(value("A = 'x'\nA: str = 'y'\nB = 'z'\n"), "y");
  EXPECT_EQ(value("A = 'x'; A = 'y'\n'''\nA = 'z'\n'''\n# A = 'z'\n"), "x");
  for (const std::string_view other :
       {"f('y')", "b'y'", "f'{y}'", "'\\N{DASH}'", "(\n'y' +\n'z')"}) {
    EXPECT_EQ(value("A = " + std::string(other) + "\nA = 'x'\n"), "x");
    EXPECT_TRUE(refusal("A = 'x'\n\nA = " + std::string(other)).starts_with("m.py: line "));
  }
  EXPECT_EQ(refusal("A = 'x'\nA += 'y'\n"), "m.py: line 2: expected strings and nothing else");
}

TEST(PythonStrings, WhatIsNoAssignment) {
  for (const std::string_view source :
       {"", "B = 'x'", "AB = 'x'", " A = 'x'", "A == 'x'", "A", "A: str", "# A = 'x'",
        "'''\nA = 'x'\n'''", "B = r'''\\'''\nA = 'x\n'''", "f(A='x')"}) {
    EXPECT_EQ(value(source), "(none)") << source;
  }
  EXPECT_EQ(value("'''\nA = 'x'\n'''\nA = 'y'"), "y");
  EXPECT_EQ(value("# it's\nB = '\\N{DASH} \\ud800'\nA = 'y'"), "y");
}

TEST(PythonStrings, Escapes) {
  EXPECT_EQ(value(R"(A = '\\ \' \" \t\x41\u00e9\U0001F600\101\7 \d')"),
            "\\ ' \" \tA\u00e9\U0001F600A\a \\d");
  EXPECT_EQ(value(R"(A = r'\n\'' u"é")"), "\\n\\'é");
}

TEST(PythonStrings, LiteralsComeBack) {
  for (const std::string_view text :
       {"", "x", "a\n\"b\" \\n 'c'\r\t\x01\x7F", "\u00E9\u2028\U0001F600", "{x} {{y}}"}) {
    const std::string literal = python_literal(text);
    EXPECT_EQ(value("A = " + literal + "\n"), text);
    EXPECT_EQ(literal.find('\n'), literal.npos);
  }
}

TEST(PythonStrings, RefusalsNameTheLine) {
  EXPECT_EQ(refusal("\nA = 'x"), "m.py: line 2: a string is not closed");
  EXPECT_EQ(refusal("A = 'x\n'"), "m.py: line 1: a string is not closed");
  EXPECT_EQ(refusal("A = 'x\\"), "m.py: line 1: a string is not closed");
  EXPECT_EQ(refusal("B = '''\n"), "m.py: line 2: a string is not closed");
  EXPECT_EQ(refusal("A = 'x' + b"), "m.py: line 1: expected strings and nothing else");
  EXPECT_EQ(refusal("A = 5"), "m.py: line 1: expected strings and nothing else");
  EXPECT_EQ(refusal("A = ('x'"), "m.py: line 1: expected strings and nothing else");
  EXPECT_EQ(refusal("A = f'{x}'"),
            "m.py: line 1: expected a plain string, found bytes or an f-string");
  EXPECT_EQ(refusal("A = '\\N{DASH}'"), "m.py: line 1: \\N in a string is not read");
  EXPECT_EQ(refusal("A = '\\x4'"), "m.py: line 1: an escape has too few digits");
  EXPECT_EQ(refusal("A = '\\ud800'"), "m.py: line 1: an escape is not a character");
  EXPECT_EQ(refusal("A = '\xff'"), "m.py: expected UTF-8");
}

}  // namespace
}  // namespace varve
