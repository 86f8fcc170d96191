"""The page of `varve serve` in a headless Chromium: a turn runs, the cache is seen at work.

Left out where there is no Chromium. VARVE_SCREENSHOT: where to keep a picture of the page.
"""

import json
import os
import unittest

import browser
from server_process import MODEL, Server

CHROMIUM = browser.find()
CONFIG = json.loads((MODEL / "config.json").read_text())
QUESTION = "In the beginning God created the heaven and the earth. " * 12
SEND = "document.getElementById('send')"


class View(unittest.TestCase):
    """GET /v1/cache, without a browser."""

    def test_what_it_says(self):
        with Server("--sessions", 2, "--ctx", 2048) as server:
            empty = server.get("/v1/cache").json
            self.assertEqual((empty["object"], empty["schema"]), ("cache", 1))
            self.assertEqual((empty["runs"], empty["layers"], empty["events"]), ([], [], []))
            self.assertEqual(empty["blocks"]["filled"], 0)
            self.assertTrue(all(pool["filled_bytes"] == 0 for pool in empty["pools"]))
            planned = sum(pool["planned_bytes"] for pool in empty["pools"])
            self.assertLessEqual(planned, empty["bytes"]["cache"])

            asked = {"prompt": QUESTION, "max_tokens": 5, "temperature": 0, "ignore_eos": True}
            for turn in range(2):
                usage = server.post("/v1/completions", asked).json["usage"]
                view = server.get("/v1/cache").json
                run = view["runs"][0]
                n = usage["prompt_tokens"]
                self.assertEqual((run["run"], run["state"]), (turn + 1, "over"))
                self.assertEqual(run["prompt_tokens"], n)
                self.assertEqual(run["tokens"], n + 4)  # the last one was not read
                self.assertEqual(run["cached_tokens"],
                                 usage["prompt_tokens_details"]["cached_tokens"])
                self.assertIn(n, run["resume_points"])
                self.check_layers(view["layers"], run["tokens"])
            # Looked at before the second turn began, and until its last token.
            picking = [layer for layer in view["layers"] if layer["kind"] == "CSA"]
            self.assertTrue(picking)
            for layer in picking:
                self.assertTrue(layer["picks"])
                self.assertEqual(len(set(layer["picks"])), len(layer["picks"]))
                self.assertLess(max(layer["picks"]), layer["entries"])
            self.assertEqual(view["blocks"]["filled"], view["blocks"]["known"] + 1)
            events = view["events"]
            self.assertEqual([event["number"] for event in events],
                             list(range(1, len(events) + 1)))
            admitted = [event for event in events if event["kind"] == "admitted"]
            self.assertEqual([event["cached_tokens"] for event in admitted], [0, n])

    def test_who_may_see_it(self):
        with Server("--sessions", 1, "--ctx", 256, "--api-key", "sesame") as server:
            for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"),
                               ("/cache.js", "text/javascript"), ("/page.css", "text/css")):
                reply = server.get(path)
                self.assertEqual(reply.status, 200, path)
                self.assertEqual(reply.headers["Content-Type"], f"{kind}; charset=utf-8")
                self.assertIn("default-src 'none'", reply.headers["Content-Security-Policy"])
                self.assertEqual(server.post(path, {}).status, 401)
            self.assertEqual(server.get("/v1/cache").status, 401)
            self.assertEqual(server.get("/v1/cache", **{"x-api-key": "sesame"}).status, 200)
            self.assertEqual(server.get("/page.json").status, 401)

    def check_layers(self, layers, n_tokens):
        self.assertEqual({layer["kind"] for layer in layers}, {"SWA", "CSA", "HCA"})
        for layer in layers:
            self.assertEqual(layer["window_rows"], min(n_tokens, CONFIG["sliding_window"]))
            ratio = {"SWA": 0, "CSA": 4, "HCA": 128}[layer["kind"]]
            self.assertEqual(layer["ratio"], ratio)
            self.assertEqual(layer["entries"], n_tokens // ratio if ratio else 0)


@unittest.skipIf(CHROMIUM is None, "there is no Chromium")
class Page(unittest.TestCase):
    def ask(self, page, text):
        n = page.run("document.querySelectorAll('.message').length")
        page.run("document.getElementById('text').focus()")
        page.type(text)
        page.press_enter()
        page.wait(f"document.querySelectorAll('.message').length === {n + 2} && !{SEND}.hidden")
        return page.run("[...document.querySelectorAll('.message .body')].at(-1).textContent")

    def events(self, page, kind):
        return page.run(f"""[...document.querySelectorAll('#events li[data-kind="{kind}"]')]
                            .map((one) => one.textContent)""")

    def test_a_chat_turn_runs_and_the_cache_view_moves(self):
        with Server("--sessions", 2, "--ctx", 4096) as server, browser.Browser(CHROMIUM) as page:
            origin = f"http://127.0.0.1:{server.port}"
            page.open(origin)
            page.wait("document.getElementById('model').textContent.includes('varve-tiny')")
            page.wait("document.querySelectorAll('#pools rect.ram').length > 0")
            self.assertEqual(page.run("document.querySelectorAll('#layers rect').length"), 0)
            page.run("document.getElementById('temperature').value = 0")
            page.run("document.getElementById('max-tokens').value = 40")

            said = self.ask(page, QUESTION)
            direct = server.post("/v1/chat/completions", {
                "messages": [{"role": "user", "content": QUESTION}], "temperature": 0,
                "max_tokens": 40}).json["choices"][0]["message"]["content"]
            self.assertTrue(said)
            self.assertEqual(said, direct)
            page.wait("document.querySelectorAll('#layers path.picked').length > 0")
            self.assertTrue(page.run("document.querySelectorAll('#layers rect.window').length > 0"))
            page.wait("""document.querySelectorAll('#events li[data-kind="over"]').length >= 2""")
            self.assertIn("miss", self.events(page, "admitted")[-1])
            before = page.run("document.getElementById('layers').innerHTML")
            tokens = page.run("document.getElementById('prompt-line').textContent")

            # A second turn: all of the first is known, and the view says so.
            self.ask(page, "And God said, Let there be light")
            page.wait("""document.querySelectorAll('#events li[data-kind="over"]').length >= 3""")
            self.assertIn("hit", self.events(page, "admitted")[0])
            self.assertTrue(self.events(page, "resume_point"))
            self.assertNotEqual(page.run("document.getElementById('layers').innerHTML"), before)
            self.assertNotEqual(page.run("document.getElementById('prompt-line').textContent"),
                                tokens)
            self.assertGreater(float(page.run(
                "document.querySelector('#prompt-bar rect.ram').getAttribute('width')")), 0)

            if where := os.environ.get("VARVE_SCREENSHOT"):
                page.screenshot(where)

            # Said again, a turn taken back, another conversation.
            page.run("[...document.querySelectorAll('.again')].at(-1).click()")
            page.wait(f"!{SEND}.hidden")
            self.assertEqual(page.run("document.querySelectorAll('.message').length"), 4)
            page.run("[...document.querySelectorAll('.edit')].at(-1).click()")
            self.assertEqual(page.run("document.querySelectorAll('.message').length"), 2)
            self.assertIn("Let there be light", page.run("document.getElementById('text').value"))
            page.run("document.getElementById('new').click()")
            self.assertEqual(page.run("document.querySelectorAll('.message').length"), 0)

            self.assertEqual(page.complaints, [])
            elsewhere = [url for url in page.requests
                         if not url.startswith((origin + "/", "data:", "about:"))]
            self.assertEqual(elsewhere, [])

    def test_it_asks_for_a_key_and_shows_what_fails(self):
        with Server("--sessions", 1, "--ctx", 512, "--api-key", "sesame") as server, \
                browser.Browser(CHROMIUM) as page:
            page.open(f"http://127.0.0.1:{server.port}/")
            page.wait("!document.getElementById('key-form').hidden")
            page.run("document.getElementById('key').value = 'sesame'")
            page.run("document.querySelector('#key-form button').click()")
            page.wait("document.getElementById('model').textContent.includes('varve-tiny')")
            page.wait("document.getElementById('problem').hidden")
            self.assertIn("prompt is too long", self.problem_of(page, QUESTION * 8))

    def problem_of(self, page, text):
        page.run(f"document.getElementById('text').value = {json.dumps(text)}")
        page.run(f"{SEND}.click()")
        page.wait("!document.getElementById('problem').hidden")
        # The message that was not answered is still there; its answer is not.
        self.assertEqual(page.run("document.querySelectorAll('.message').length"), 1)
        return page.run("document.getElementById('problem').textContent")


if __name__ == "__main__":
    unittest.main()
