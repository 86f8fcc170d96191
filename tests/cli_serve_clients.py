"""`varve serve` as the official Python clients of OpenAI and Anthropic see it.

    tools/get-api-clients.sh
    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_serve_clients.py"""

import os
import sys
import unittest
from pathlib import Path
from typing import Annotated, Literal

CLIENTS = Path(os.environ["VARVE_SOURCE_DIR"]) / "build" / "api-clients" / "bin" / "python"
try:
    import anthropic
    import openai
    import pydantic
except ImportError:
    if CLIENTS.exists() and "VARVE_IN_CLIENTS" not in os.environ:
        os.environ["VARVE_IN_CLIENTS"] = "1"
        os.execv(CLIENTS, [str(CLIENTS), "-B", *sys.argv])
    openai = anthropic = None

from server_process import PATIENCE, Server

QUESTION = {"role": "user", "content": "In the beginning"}
TOOL = {"name": "look_up", "description": "Looks a verse up.",
        "parameters": {"type": "object", "properties": {"verse": {"type": "string"}}}}


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if openai is None:
            raise unittest.SkipTest("the clients are not installed (tools/get-api-clients.sh)")
        cls.server = Server("--ctx", "8192", "--api-key", "secret", "--keep-alive", "0.01")
        url = f"http://127.0.0.1:{cls.server.port}"
        cls.openai = openai.OpenAI(base_url=url + "/v1", api_key="secret", max_retries=0,
                                   timeout=PATIENCE)
        cls.anthropic = anthropic.Anthropic(base_url=url, api_key="secret", max_retries=0,
                                            timeout=PATIENCE)

    @classmethod
    def tearDownClass(cls):
        cls.openai.close()
        cls.anthropic.close()
        cls.server.stop()
        assert cls.server.code == 0, cls.server.errors


class Openai(WithServer):
    def chat(self, **more):
        return self.openai.chat.completions.create(
            **{"model": "varve-tiny", "messages": [QUESTION], "temperature": 0, "max_tokens": 12,
               **more})

    def test_models(self):
        self.assertEqual([model.id for model in self.openai.models.list()], ["varve-tiny"])
        with self.assertRaises(openai.NotFoundError):
            self.openai.models.retrieve("other")
        self.assertEqual(self.openai.models.retrieve("varve-tiny").object, "model")

    def test_chat(self):
        answer = self.chat()
        said = answer.choices[0].message.content
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 12)
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        self.assertEqual(text, said)
        self.assertEqual(chunks[-1].usage.prompt_tokens_details.cached_tokens,
                         answer.usage.prompt_tokens)
        messages = [QUESTION, {"role": "assistant", "content": said},
                    {"role": "user", "content": "And then?"}]
        again = self.chat(messages=messages, logprobs=True, top_logprobs=3)
        self.assertEqual(again.usage.prompt_tokens_details.cached_tokens,
                         answer.usage.total_tokens - 1)
        self.assertEqual(len(again.choices[0].logprobs.content), 12)
        self.assertEqual(len(again.choices[0].logprobs.content[0].top_logprobs), 3)

    def stop(self):
        """Something that the answer says: the helper takes one that was cut for an error."""
        return self.chat().choices[0].message.content[10:13]

    def test_stream_helper(self):
        with self.openai.chat.completions.stream(
                model="varve-tiny", messages=[QUESTION], temperature=0, max_tokens=12,
                stop=self.stop()) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        said = self.chat(stop=self.stop()).choices[0].message.content
        self.assertEqual("".join(deltas), said)
        self.assertEqual(final.choices[0].message.content, said)

    def test_completions(self):
        answer = self.openai.completions.create(model="varve-tiny", prompt="And it came to pass",
                                                temperature=0, max_tokens=8, logprobs=2)
        self.assertEqual("".join(answer.choices[0].logprobs.tokens), answer.choices[0].text)
        stream = self.openai.completions.create(model="varve-tiny", prompt="And it came to pass",
                                                temperature=0, max_tokens=8, stream=True)
        self.assertEqual("".join(chunk.choices[0].text for chunk in stream),
                         answer.choices[0].text)

    def test_responses(self):
        asked = {"model": "varve-tiny", "input": "In the beginning", "temperature": 0,
                 "max_output_tokens": 12}
        answer = self.openai.responses.create(**asked)
        self.assertEqual(answer.output_text, self.chat().choices[0].message.content)
        self.assertEqual((answer.status, answer.incomplete_details.reason),
                         ("incomplete", "max_output_tokens"))
        self.assertEqual(answer.usage.output_tokens, 12)
        events = list(self.openai.responses.create(**asked, stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual(
            "".join(event.delta for event in events if event.type == "response.output_text.delta"),
            answer.output_text)
        names = [event.type for event in events]
        self.assertEqual(names[:4], ["response.created", "response.in_progress",
                                     "response.output_item.added", "response.content_part.added"])
        self.assertEqual(names[-4:], ["response.output_text.done", "response.content_part.done",
                                      "response.output_item.done", "response.incomplete"])
        ended = {**asked, "extra_body": {"stop": self.stop()}}
        with self.openai.responses.stream(**ended) as stream:
            for _ in stream:
                pass
            final = stream.get_final_response()
        self.assertEqual((final.status, final.output_text),
                         ("completed", answer.output_text[:answer.output_text.index(self.stop())]))
        # The answer's items go back as they came.
        history = [{"role": "user", "content": "In the beginning"},
                   *(item.model_dump() for item in answer.output),
                   {"role": "user", "content": "And after that?"}]
        again = self.openai.responses.create(**{**asked, "input": history})
        self.assertEqual(again.usage.input_tokens_details.cached_tokens,
                         answer.usage.total_tokens - 1)
        instructed = self.openai.responses.create(**asked, instructions="Be brief.",
                                                  metadata={"a": "b"})
        self.assertEqual((instructed.instructions, instructed.metadata), ("Be brief.", {"a": "b"}))
        self.assertGreater(instructed.usage.input_tokens, answer.usage.input_tokens)

    def test_json(self):
        class Person(pydantic.BaseModel):
            name: Annotated[str, pydantic.Field(max_length=20)]
            age: Annotated[int, pydantic.Field(ge=0, le=150)]
            kind: Literal["king", "prophet"]

        answer = self.openai.chat.completions.parse(
            model="varve-tiny", messages=[QUESTION], max_tokens=300, response_format=Person)
        self.assertIsInstance(answer.choices[0].message.parsed, Person)
        answer = self.openai.responses.parse(model="varve-tiny", input="In the beginning",
                                             max_output_tokens=300, text_format=Person)
        self.assertIsInstance(answer.output_parsed, Person)

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(temperature=9)
        self.assertEqual(caught.exception.body["param"], "temperature")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(messages=[{"role": "user", "content": "word " * 9000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        stranger = openai.OpenAI(base_url=self.openai.base_url, api_key="other", max_retries=0)
        with self.assertRaises(openai.AuthenticationError):
            stranger.models.list()
        stranger.close()


class Anthropic(WithServer):
    asked = {"model": "varve-tiny", "max_tokens": 12, "messages": [QUESTION],
             "extra_body": {"temperature": 0}}

    def test_models(self):
        self.assertEqual([model.id for model in self.anthropic.models.list()], ["varve-tiny"])

    def test_messages(self):
        answer = self.anthropic.messages.create(**self.asked)
        (block,) = answer.content
        self.assertEqual((block.type, answer.stop_reason), ("text", "max_tokens"))
        self.assertEqual(answer.usage.output_tokens, 12)
        said = self.openai.chat.completions.create(model="x", messages=[QUESTION], temperature=0,
                                                   max_tokens=12)
        self.assertEqual(said.choices[0].message.content, block.text)
        with self.anthropic.messages.stream(**self.asked) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, block.text)
        self.assertEqual(final.content[0].text, block.text)
        self.assertEqual((final.stop_reason, final.usage.output_tokens), ("max_tokens", 12))
        self.assertEqual(final.usage.input_tokens, 0)
        messages = [QUESTION, {"role": "assistant", "content": answer.content},
                    {"role": "user", "content": "And then?"}]
        again = self.anthropic.messages.create(**{**self.asked, "messages": messages})
        n_read = answer.usage.input_tokens + answer.usage.cache_read_input_tokens
        self.assertEqual(again.usage.cache_read_input_tokens, n_read + 12 - 1)

    def test_count_tokens(self):
        count = self.anthropic.messages.count_tokens(model="x", messages=[QUESTION], system="Hello")
        answer = self.anthropic.messages.create(**self.asked, system="Hello")
        self.assertEqual(count.input_tokens,
                         answer.usage.input_tokens + answer.usage.cache_read_input_tokens)

    def test_a_stream_that_waits_is_kept_alive(self):
        long = "And it came to pass in those days. " * 500
        with self.anthropic.messages.stream(
                **{**self.asked, "messages": [{"role": "user", "content": long}]}) as stream:
            self.assertEqual(stream.get_final_message().usage.output_tokens, 12)

    def test_errors(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.anthropic.messages.create(**{**self.asked, "extra_body": {"temperature": 1.5}})
        self.assertIn("`temperature`", caught.exception.body["error"]["message"])
        stranger = anthropic.Anthropic(base_url=self.anthropic.base_url, api_key="other",
                                       max_retries=0)
        with self.assertRaises(anthropic.AuthenticationError):
            stranger.messages.create(**self.asked)
        stranger.close()


if __name__ == "__main__":
    sys.exit(unittest.main())
