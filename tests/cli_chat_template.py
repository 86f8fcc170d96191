"""Chat templates: `varve chat --render` against jinja2, set up as Transformers' apply_chat_template
sets it up. Where jinja2 refuses a conversation varve has to refuse it too.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_chat_template.py

The templates of tests/data/chat_templates do what those of the supported families do, in words of
our own. Published ones can be held against jinja2 too: VARVE_CHAT_TEMPLATES names a folder of them
(*.jinja)."""

import datetime
import functools
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.sandbox

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
TEMPLATES = SOURCE / "tests" / "data" / "chat_templates"
EXPRESSIONS = TEMPLATES / "expressions.txt"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


class Generation(jinja2.ext.Extension):
    """{% generation %}: Transformers marks what is in it; the text is the same."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)


@functools.lru_cache
def compiled(template):
    return ENVIRONMENT.from_string(template)


def expected(template, request):
    """What jinja2 makes of a request; None where it refuses it."""
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **TOKENS,
                 **request}
    try:
        return compiled(template).render(**variables)
    except Exception:  # whatever a template's code raises is a refusal
        return None


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "The weather of a town. It isn't \"far\" off.",
    "parameters": {"type": "object", "required": ["town"], "properties": {
        "town": {"type": "string", "description": "A town, e.g. Zürich"},
        "unit": {"type": "string", "enum": ["C", "F"], "default": None},
        "days": {"type": ["integer", "null"], "minimum": 1},
        "near": {"type": "array", "items": {"type": "object", "properties": {
            "lat": {"type": "number"}, "on": {"type": "boolean"}}}}}}}}
ADD = {"type": "function", "function": {
    "name": "add", "description": "a + b < c", "parameters": {"type": "object", "properties": {
        "a": {"type": "number"}, "b": {"type": "number"}}},
    "return": {"type": "number", "description": "the sum"}}}

THOUGHT = "<think>\nFour, I think.\n</think>\n\nIt is 4."
CONVERSATIONS = {
    "question": [user("Who are you?")],
    "system": [system("Be brief. "), user("  Hello\n")],
    "turns": [user("Hi"), assistant("Hello! "), user("1 + 1?"), assistant("2"), user("And <3?")],
    "system and turns": [system("S"), user("Ü中😀"), assistant("\n x \n"), user("y")],
    "ends with an answer": [user("Hi"), assistant("Hello")],
    "late system": [user("Hi"), system("Now shout."), assistant("HI"), user("?")],
    "two questions": [user("a"), user("b")],
    "answer first": [assistant("I begin."), user("Go on")],
    "thoughts": [user("2+2?"), assistant(THOUGHT), user("3+3?"), assistant(THOUGHT), user("q")],
    "thoughts at the end": [user("2+2?"), assistant(THOUGHT)],
    "reasoning": [user("2+2?"), assistant("4", reasoning_content="two and two\n"), user("sure?"),
                  assistant("Yes", reasoning_content="\nI am")],
    "no content": [user("a"), assistant(None), user("b")],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "one"},
                                           {"type": "text", "text": "two"}]}],
    "call": [user("Weather in Zürich?"),
             assistant("", tool_calls=[call("weather", {"town": "Zürich", "days": 3,
                                                        "near": [1.5, None, True]}, id="abcde1234")]),
             {"role": "tool", "name": "weather", "content": "{\"rain\": true}",
              "tool_call_id": "abcde1234"},
             assistant("Rain."), user("Thanks")],
    "open call": [system("Use tools."), user("Both?"),
                  assistant(None, tool_calls=[call("weather", {"town": "Bern"}, id="aaaaaaaaa"),
                                              call("add", {"a": 1, "b": 2.5}, id="bbbbbbbbb")]),
                  {"role": "tool", "content": "sun", "tool_call_id": "aaaaaaaaa"},
                  {"role": "tool", "content": "3.5", "tool_call_id": "bbbbbbbbb"}],
    "call as text": [user("x"), assistant("Well", tool_calls=[call("add", "{\"a\": 1}")]),
                     {"role": "tool", "content": 3}],
    "nothing": [],
    "other role": [{"role": "wizard", "content": "abracadabra"}],
}

# Variables besides messages.
SETTINGS = [
    {}, {"add_generation_prompt": True},
    {"add_generation_prompt": True, "tools": [WEATHER, ADD]},
    {"tools": [ADD], "tools_in_user_message": False, "date_string": "1 Jan 2025"},
    {"add_generation_prompt": True, "enable_thinking": False, "thinking": True},
    {"tools": []},
]


# Of the expressions.
VARIABLES = {"n": 7, "f": 2.5, "s": "Hello, World", "u": "grüße 中 😀", "l": [3, 1, 2],
             "d": {"b": 1, "a": [True, None], "items": "x"}, "none_value": None, "yes": True,
             "people": [{"name": "Ada", "age": 36, "at": {"town": "London"}},
                        {"name": "bob", "age": 7}, {"name": "Cy", "age": 36, "at": {}}],
             "lines": "one\n\n two\nthree", "html": "<a href='x'>&\"</a>"}


class ChatTemplates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.model = Path(folder.name)
        (cls.model / "tokenizer_config.json").write_text(json.dumps(
            {**TOKENS, "eos_token": {"content": "</s>", "special": True}}), encoding="utf-8")

    def rendered(self, template, request):
        """What varve makes of a request; None and its sentence where it refuses it."""
        done = subprocess.run([BIN, "chat", self.model, "--chat-template", template, "--render",
                               "-"], input=json.dumps(request).encode(), capture_output=True,
                              timeout=60, check=False)
        if done.returncode == 0:
            return done.stdout.decode(), ""
        self.assertEqual(done.returncode, 3, done.stderr.decode())
        self.assertTrue(done.stderr.startswith(b"varve: "), done.stderr)
        return None, done.stderr.decode()

    def compare(self, template, request):
        want = expected(template.read_text(encoding="utf-8"), request)
        got, sentence = self.rendered(template, request)
        self.assertEqual(got, want, sentence)
        return want is not None

    def compare_all(self, folder):
        """The number of requests that some template of the folder makes a text of, by template."""
        counts = {}
        for template in sorted(folder.glob("*.jinja")):
            counts[template.name] = 0
            for name, messages in CONVERSATIONS.items():
                for settings in SETTINGS:
                    with self.subTest(template=template.name, conversation=name,
                                      settings=list(settings)):
                        request = {"messages": messages, **settings}
                        counts[template.name] += self.compare(template, request)
        return counts

    def test_templates_of_the_families(self):
        counts = self.compare_all(TEMPLATES)
        self.assertGreaterEqual(len(counts), 10)
        for name, count in counts.items():
            self.assertGreaterEqual(count, 12, name)  # each makes texts, not only refusals

    def test_expressions(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        template = Path(folder.name) / "expression.jinja"
        request = {"messages": CONVERSATIONS["call"], "tools": [WEATHER, ADD], **VARIABLES}
        lines = EXPRESSIONS.read_text(encoding="utf-8").splitlines()
        expressions = [line for line in lines if line and not line.startswith("##")]
        self.assertGreater(len(expressions), 200)
        for expression in expressions:
            with self.subTest(expression=expression):
                text = expression if "{%" in expression else "{{ " + expression + " }}"
                template.write_text(text, encoding="utf-8")
                self.compare(template, request)

    @unittest.skipUnless("VARVE_CHAT_TEMPLATES" in os.environ, "no published templates given")
    def test_published_templates(self):
        counts = self.compare_all(Path(os.environ["VARVE_CHAT_TEMPLATES"]))
        for name, count in counts.items():
            self.assertGreater(count, 0, name)
            print(name, count)


if __name__ == "__main__":
    sys.exit(unittest.main())
