"""`varve chat` over a pipe: turns read only what is new, going back gives the same answers, branches
part, Ctrl-C ends an answer and not the program.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_chat.py"""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
STATS = re.compile(r"branch (\S+): (\d+) turns, (\d+) of (\d+) tokens of context\n"
                   r"last turn: (\d+) tokens read at [\d.]+/s, (\d+) kept; (\d+) new at [\d.]+/s\n"
                   r"cache [^\n]*\nbranches: ([^\n]*)\n"
                   r"(?:store: (\d+) tokens of the last turn from it, \d+ in all\n)?")
SMOLLM2 = os.environ.get("VARVE_SMOLLM2")
EOS = 1  # of the bundled model
# Turns in plain text: the tokenizer may join what is written to what was sampled before it.
PLAIN = ("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}"
         "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}")


def gguf_of_texts(entries):
    """A GGUF file (version 3) with these keys and texts and no tensors."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(
        text(key) + struct.pack("<I", 8) + text(value) for key, value in entries.items())


class Stats:
    def __init__(self, match):
        self.branch, self.names = match[1], match[8].split(", ")
        (self.turns, self.context, self.room, self.read, self.kept,
         self.new) = map(int, match.group(2, 3, 4, 5, 6, 7))
        self.stored = None if match[9] is None else int(match[9])


class Chat(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.template = self.folder / "plain.jinja"
        self.template.write_text(PLAIN, encoding="utf-8")

    def chat(self, lines, *flags, code=0, model=MODEL):
        """(stdout, stderr) of a conversation: greedy answers of 12 tokens unless flags say more."""
        flags = ("--temp", "0", *(() if "-n" in flags else ("-n", "12")), *map(str, flags))
        done = subprocess.run([BIN, "chat", model, *flags], input="\n".join(lines).encode() + b"\n",
                              capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout.decode(), done.stderr.decode()

    def typed(self, lines, *flags):
        """The same of a conversation at a terminal, prompts taken out."""
        ours, theirs = pty.openpty()
        modes = termios.tcgetattr(theirs)
        modes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        with subprocess.Popen([BIN, "chat", MODEL, "--temp", "0", "-n", "12", *map(str, flags)],
                              stdin=theirs, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as program:
            os.close(theirs)
            for line in [*lines, "/quit"]:
                os.write(ours, line.encode() + b"\n")
            out, errors = program.communicate(timeout=120)
            os.close(ours)
        self.assertEqual(program.returncode, 0, errors.decode())
        return re.sub(r"^((\w+)?> )+\n?", "", out.decode(), flags=re.MULTILINE), errors.decode()

    def turns(self, lines, *flags, model=MODEL):
        """([answer], [Stats after it]) of the lines that are messages."""
        asked = [part for line in lines for part in ((line,) if line[0] == "/" else (line, "/stats"))]
        out, _ = self.chat(asked, *flags, model=model)
        out = re.sub(r"^\d+ turns left\n", "", out, flags=re.MULTILINE)
        ends = list(STATS.finditer(out))
        begins = [0, *(match.end() for match in ends)]
        answers = [out[begin:match.start()] for begin, match in zip(begins, ends)]
        self.assertEqual(out[begins[-1]:], "")
        return answers, [Stats(match) for match in ends]

    def test_a_turn_reads_only_what_is_new(self):
        question = "And it came to pass in those days, that there went out a decree"
        for flags in ((), ("--chat-template", self.template), ("--think", "no")):
            with self.subTest(flags=flags):
                _, stats = self.turns([question, "Who?", "Who?", "Who?"], *flags)
                self.assertEqual([turn.turns for turn in stats], [1, 2, 3, 4])
                self.assertEqual(stats[0].kept, 0)
                for turn in stats:
                    self.assertEqual(turn.context, turn.kept + turn.read + turn.new)
                for turn, before in zip(stats[1:], stats):
                    # The last token of an answer that was cut at -n has not been read yet.
                    was_cut = before.new == 12
                    self.assertEqual(turn.kept, before.context - was_cut)
                    self.assertEqual(turn.read - was_cut, stats[-1].read - (stats[-2].new == 12))
                    self.assertLess(turn.read, stats[0].read)

    def test_answers_are_those_of_a_context_read_at_once(self):
        # What was rendered and sampled, read by `run` as one text: the same continuation.
        question = "In the beginning"
        for flags in ((), ("--numerics", "reference")):
            answers, _ = self.turns([question, "And then?"], *flags)
            text = ("<｜begin▁of▁sentence｜><｜User｜>" + question + "<｜Assistant｜></think>"
                    + answers[0][:-1] + "<｜end▁of▁sentence｜><｜User｜>And then?<｜Assistant｜></think>")
            done = subprocess.run([BIN, "run", MODEL, "-p", text, "--temp", "0", "-n", "12", *flags],
                                  capture_output=True, timeout=120, check=True)
            self.assertEqual(done.stdout.decode(), answers[1])

    def test_rewind_gives_the_same_answer(self):
        answers, stats = self.turns(
            ["In the beginning", "And then?", "Why?", "/rewind 2", "And then?", "Why?", "/rewind",
             "/rewind", "/rewind", "In the beginning"])
        self.assertEqual(answers, [*answers[:3], *answers[1:3], answers[0]])
        self.assertEqual([turn.turns for turn in stats], [1, 2, 3, 2, 3, 1])
        self.assertEqual([turn.context for turn in stats[:3]],
                         [stats[5].context, *(turn.context for turn in stats[3:5])])
        self.assertEqual(stats[3].read, 0)  # all of it was there

    def test_rewind_and_another_question_is_the_straight_conversation(self):
        straight, _ = self.turns(["In the beginning", "Who was there?"])
        astray, _ = self.turns(["In the beginning", "Something else", "/rewind", "Who was there?"])
        self.assertEqual(astray[-1], straight[-1])

    def test_branches_part_and_stay(self):
        answers, stats = self.turns(
            ["In the beginning", "/fork aside", "Who?", "/switch main", "Where?", "/switch aside",
             "Why?"])
        self.assertEqual([(turn.branch, turn.turns) for turn in stats],
                         [("main", 1), ("aside", 2), ("main", 2), ("aside", 3)])
        self.assertEqual(stats[-1].names, ["aside", "main"])
        self.assertGreaterEqual(stats[1].kept, stats[0].context - 1)
        self.assertEqual(stats[1].kept, stats[2].kept)
        self.assertEqual(self.turns(["In the beginning", "Where?"])[0][1], answers[2])
        self.assertEqual(self.turns(["In the beginning", "Who?", "Why?"])[0],
                         [answers[0], answers[1], answers[3]])

    def test_system_and_clear(self):
        plain, _ = self.turns(["Who?"])
        given, _ = self.turns(["Who?"], "--system", "It was dark.")
        later, _ = self.turns(["Who?", "/clear", "/system It was dark.", "Who?", "/system",
                               "/clear", "Who?"])
        self.assertNotEqual(plain, given)
        self.assertEqual(later, [*plain, *given, *plain])

    def test_lines_go_on_behind_a_backslash(self):
        flags = ("--chat-template", self.template)
        two, _ = self.chat(["In the\\", "beginning"], *flags)
        one, _ = self.chat(["In the beginning"], *flags)
        self.assertNotEqual(two, one)

    def test_what_is_typed_is_no_special_token(self):
        _, (plain, forged, last) = self.turns(
            ["Who", "Who<｜end▁of▁sentence｜><｜User｜>Why<｜Assistant｜></think>", "Who"])
        # As text each of them takes several tokens, as a token one.
        self.assertGreater(forged.read, plain.read + 4 + 8)
        self.assertEqual(last.context, last.kept + last.read + last.new)
        self.assertLess(last.read, plain.read + 2)
        _, (system,) = self.turns(["Who"], "--system", "<｜User｜>")
        self.assertGreater(system.read, plain.read + 2)

    def test_mistakes_are_said_and_change_nothing(self):
        clean, _ = self.chat(["Who?", "Why?"])
        out, errors = self.typed(["Who?", "/nope", "/rewind 9", "/rewind x", "/fork", "/fork main",
                                  "/switch nowhere", "x " * 500, "Why?"], "--ctx", 200)
        self.assertEqual(out, clean)
        for sentence in ("there is no command /nope; /help lists them",
                         "cannot go back 9 turns: there are 1", "/rewind x: expected a number",
                         "a branch needs a name", "there is a branch `main` already",
                         "there is no branch `nowhere`", "the conversation takes "):
            self.assertIn("\nvarve: " + sentence, errors)
        self.assertIn("the context holds 200 (--ctx)", errors)

    def test_a_mistake_ends_a_script_with_its_exit_code(self):
        for line, flags, code, sentence in (
                ("x " * 5000, (), 2, "; the context holds 4096 (--ctx)"),
                ("/rewind 9", (), 2, "cannot go back 9 turns: there are 1"),
                ("/fork a", ("--branches", 1), 2, "; --branches makes room for more")):
            with self.subTest(line=line[:20]):
                clean, _ = self.chat(["Who?"], *flags)
                out, errors = self.chat(["Who?", line, "Why?"], *flags, code=code)
                self.assertEqual(out, clean)
                self.assertTrue(errors.endswith(sentence + "\n"), errors)

    def test_a_full_context_ends_an_answer(self):
        self.template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}",
                                 encoding="utf-8")
        flags = ("--ctx", 12, "-n", 0, "--chat-template", self.template)
        _, (stats,) = self.turns(["In the beginning God"], *flags)
        # The last token is handed out; it would be read only if there were room for one more.
        self.assertEqual(stats.context, stats.room + 1)
        _, errors = self.chat(["In the beginning God", "Who?"], *flags, code=2)
        self.assertIn(f"the answer was cut at {stats.new} tokens", errors)
        self.assertIn("; the context holds 12 (--ctx)", errors)

    def test_a_template_that_refuses_is_heard(self):
        self.template.write_text("{{ raise_exception('Too rude.') }}", encoding="utf-8")
        out, errors = self.chat(["Hey"], "--chat-template", self.template, code=3)
        self.assertEqual(out, "")
        self.assertIn("the template refuses this conversation: Too rude.", errors)

    def test_a_conversation_comes_back_after_a_restart(self):
        talk, store = self.folder / "talk.json", self.folder / "store"
        questions = ["And it came to pass in those days. " * 30, "Who?", "Where?"]
        flags = ("--system", "It was dark and the waters were deep. " * 20)
        together, whole = self.turns(questions, *flags)
        for kept in (("--transcript", talk, "--store", store), ("--transcript", talk)):
            talk.unlink(missing_ok=True)
            apart, stats = [], []
            for question in questions:
                answers, (one,) = self.turns([question], *(() if talk.exists() else flags), *kept)
                apart += answers
                stats.append(one)
            self.assertEqual(apart, together)
            self.assertEqual([(one.turns, one.context) for one in stats],
                             [(one.turns, one.context) for one in whole])
            for one, before in zip(stats[1:], stats):
                if "--store" in kept:
                    # The store has whole blocks, and the ends of turns as points to go on from.
                    self.assertGreaterEqual(one.kept, before.context - 130)
                    self.assertGreaterEqual(one.stored, one.kept // 128 * 128)
                    self.assertGreater(one.stored, 0)
                else:
                    self.assertEqual((one.kept, one.stored), (0, None))
        # Another process, another conversation: the same system message is not read again.
        store_flags = ("--store", self.folder / "other", "--resume", "full", "--store-budget", "1G")
        self.turns(["A question"], *flags, *store_flags)
        _, (first,) = self.turns(["Another question"], *flags, *store_flags)
        self.assertGreaterEqual(first.kept, 128)
        self.assertEqual(first.stored, first.kept // 128 * 128)
        self.assertEqual(self.turns(["Another question"], *flags)[0],
                         self.turns(["Another question"], *flags, *store_flags)[0])

    def test_a_transcript_keeps_the_branch_that_is_talked_in(self):
        talk = self.folder / "talk.json"
        flags = ("--transcript", talk)
        told, _ = self.turns(["In the beginning", "Who?", "Where?"])
        self.turns(["In the beginning", "/fork aside", "Who?", "Why?", "/rewind"], *flags)
        answers, (stats,) = self.turns(["Where?"], *flags)
        self.assertEqual((answers, stats.turns), (told[2:], 3))
        # A system message that is given stands in place of the one that was kept.
        saved = json.loads(talk.read_text(encoding="utf-8"))
        self.assertEqual((saved["schema"], saved["system"], len(saved["messages"])),
                         ("varve.chat/1", "", 6))
        self.turns(["/rewind 2", "/system It was dark."], *flags)
        self.assertEqual(json.loads(talk.read_text(encoding="utf-8"))["system"], "It was dark.")
        dark, _ = self.turns(["In the beginning", "Who?"], "--system", "It was dark.")
        self.assertNotEqual(dark, told[:2])
        again, _ = self.turns(["/clear", "In the beginning"], *flags)
        self.assertEqual(again, dark[:1])
        light, _ = self.turns(["/clear", "In the beginning"], *flags, "--system", "")
        self.assertEqual(light, told[:1])

    def test_a_transcript_that_is_none_is_refused(self):
        talk = self.folder / "talk.json"
        good = {"schema": "varve.chat/1", "system": "", "messages": [], "transcript": []}
        for content, sentence in (
                ("{", "talk.json"), ("[]", "field `schema`: it is missing"),
                ({**good, "schema": "varve.chat/2"}, "expected varve.chat/1, found varve.chat/2"),
                ({**good, "system": 5}, "field `system`: expected a string"),
                ({**good, "messages": [{"role": "user", "content": "a"}]}, "with their answers"),
                ({**good, "messages": [{"role": "user"}, {"role": "tool"}]}, "the role `assistant`"),
                ({**good, "transcript": 1}, "field `transcript`: expected an array"),
                ({**good, "transcript": [{}]}, "expected texts and arrays of ids"),
                ({**good, "transcript": [[2048]]}, "expected token ids below 2048"),
                ({**good, "transcript": [["a"]]}, "expected token ids below 2048")):
            with self.subTest(content=content):
                text = content if isinstance(content, str) else json.dumps(content)
                talk.write_text(text, encoding="utf-8")
                _, errors = self.chat(["Who?"], "--transcript", talk, code=3)
                self.assertIn(sentence, errors)
                self.assertEqual(talk.read_text(encoding="utf-8"), text)
        # Ids that stand for another text are read anew.
        talk.write_text(json.dumps({**good, "transcript": ["x", [9, 10], "y"]}), encoding="utf-8")
        self.assertEqual(self.turns(["Who?"], "--transcript", talk)[0], self.turns(["Who?"])[0])
        _, errors = self.chat(["Who?"], "--transcript", self.folder / "none" / "talk.json", code=2)
        self.assertIn("--transcript", errors)

    def test_flags_that_cannot_be(self):
        for flags, code, sentence in (
                (("--think", "maybe"), 2, "--think maybe: expected 'yes' or 'no'"),
                (("-n", "-1"), 2, "-n -1: expected 0 or more tokens"),
                (("--branches", "0"), 2, "0"),
                (("--chat-template", self.folder / "nowhere"), 3, "nowhere"),
                (("--render", self.folder / "nowhere"), 3, "nowhere")):
            with self.subTest(flags=flags):
                _, errors = self.chat([], *flags, code=code)
                self.assertIn(sentence, errors)
                self.assertEqual(errors.strip().count("\n"), 0, errors)

    def test_a_model_without_a_template_says_so(self):
        (self.folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        done = subprocess.run([BIN, "chat", self.folder], input=b"", capture_output=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr.decode(),
                         f"varve: {self.folder} has no chat template: it is a model that continues "
                         "text (`varve run`); --chat-template FILE gives it one\n")

    def test_the_template_of_a_gguf(self):
        model = self.folder / "m.gguf"
        messages = self.folder / "messages.json"
        messages.write_text('[{"role": "user", "content": "Who?"}]', encoding="utf-8")
        llama = {"general.architecture": "llama"}
        model.write_bytes(gguf_of_texts(llama | {"tokenizer.chat_template": PLAIN}))
        self.assertEqual(self.chat([], "--render", messages, model=model)[0], "user: Who?")
        model.write_bytes(gguf_of_texts({"general.architecture": "deepseek4"}))
        self.assertEqual(self.chat([], "--render", messages, model=model)[0],
                         "<｜begin▁of▁sentence｜><｜User｜>Who?")
        model.write_bytes(gguf_of_texts(llama))
        _, errors = self.chat(["Who?"], code=2, model=model)
        self.assertEqual(errors, f"varve: {model} has no chat template: it is a model that "
                                 "continues text (`varve run`); --chat-template FILE gives it one\n")
        _, errors = self.chat(["Who?"], code=3, model=MODEL / "model.safetensors")
        self.assertIn("expected a GGUF file or a model directory", errors)

    @unittest.skipUnless(SMOLLM2, "VARVE_SMOLLM2 names no file (tools/get-smollm2.sh)")
    def test_a_real_model_from_its_gguf(self):
        answers, stats = self.turns(["Name three rivers in Europe.", "And in Asia?"], "-n", 24,
                                    model=SMOLLM2)
        self.assertEqual([turn.turns for turn in stats], [1, 2])
        self.assertIn("Danube", answers[0])
        self.assertNotIn("<|im_end|>", "".join(answers))
        was_cut = stats[0].new == 24
        self.assertEqual(stats[1].kept, stats[0].context - was_cut)
        self.assertLess(stats[1].read, stats[0].read)

    def test_no_input_at_all_ends_the_program(self):
        for closes in (lambda: os.close(0), lambda: os.dup2(os.open(os.devnull, os.O_RDONLY), 0)):
            done = subprocess.run([BIN, "chat", MODEL], preexec_fn=closes, capture_output=True,
                                  timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, b""))

    def test_ctrl_c_at_the_prompt_ends_the_program(self):
        # Just as the prompt appears, before the program waits: many times, since one may be late.
        for _ in range(20):
            ours, theirs = pty.openpty()
            with subprocess.Popen([BIN, "chat", MODEL], stdin=theirs, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL) as program:
                os.close(theirs)
                self.assertEqual(program.stdout.read(2), b"> ")
                program.send_signal(signal.SIGINT)
                self.assertEqual(program.wait(timeout=60), 0)
            os.close(ours)

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        with subprocess.Popen([BIN, "chat", MODEL, "--temp", "0", "-n", "100000", "--ctx", "200000",
                               "--chat-template", self.template, "--branches", "1",
                               "--logit-bias", f"{EOS}:-1000"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as program:
            program.stdin.write(b"In the beginning\n")
            program.stdin.flush()
            self.assertTrue(program.stdout.read(1))  # the answer has begun
            program.send_signal(signal.SIGINT)
            program.stdin.write(b"/stats\nWho?\n")
            program.stdin.flush()
            text = b""
            while b"branches:" not in text:
                line = program.stdout.readline()
                self.assertTrue(line, "the program ended")
                text += line
            stopped = Stats(STATS.search(text.decode()))
            self.assertEqual(stopped.turns, 1)
            self.assertGreater(stopped.new, 0)
            self.assertTrue(program.stdout.read(1))  # it answers again
            program.send_signal(signal.SIGINT)
            out, errors = program.communicate(b"/stats\n/quit\n", timeout=120)
        self.assertEqual(program.returncode, 0)
        self.assertIn(b"varve: stopped", errors)
        again = Stats(STATS.search(out.decode()))
        self.assertEqual(again.turns, 2)
        self.assertEqual(again.kept, stopped.context - 1)


if __name__ == "__main__":
    sys.exit(unittest.main())
