#include "server/generation_loop.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/generate.h"

namespace varve::server {
namespace {

using Ids = std::vector<int32_t>;

const std::string kModel = std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny";

// What came of a request.
struct Outcome {
  int n_cached = -1;
  std::string text;
  Ids ids;  // of the pieces
  std::vector<SampledToken> tokens;
  std::optional<Finished> finished;
  std::string error;
};

class GenerationLoopTest : public testing::Test {
 protected:
  void start(int n_sessions, const LoopOptions& options = {}, int ctx_tokens = 600) {
    engine_ = Engine::create(model_, {.ctx_tokens = ctx_tokens, .n_sessions = n_sessions}).value();
    loop_ = std::make_unique<GenerationLoop>(*engine_, tokenizer_, options);
  }

  std::shared_ptr<Generation> submit(Ids prompt, int n,
                                     std::vector<std::string> stop_strings = {}) {
    GenerationRequest request = greedy(std::move(prompt), n);
    request.stop_strings = std::move(stop_strings);
    return loop_->submit(std::move(request));
  }
  static GenerationRequest greedy(Ids prompt, int n) {
    return {.prompt = std::move(prompt),
            .sampling = {.temperature = 0},
            .max_tokens = n,
            .ignore_eos = true};
  }

  void run_dry() {
    while (loop_->advance()) continue;
  }
  // What is there of it now.
  static Outcome read(Generation& generation) {
    Outcome outcome;
    while (auto event = generation.next(Generation::Clock::now())) {
      take(std::move(*event), outcome);
    }
    return outcome;
  }
  // Returns false at its end.
  static bool take(Event event, Outcome& outcome) {
    if (const auto* const admitted = std::get_if<Admitted>(&event)) {
      outcome.n_cached = admitted->n_cached;
    } else if (const auto* const piece = std::get_if<Piece>(&event)) {
      outcome.text += piece->text;
      for (const SampledToken& token : piece->tokens) {
        outcome.ids.push_back(token.id);
        outcome.tokens.push_back(token);
      }
    } else if (auto* const finished = std::get_if<Finished>(&event)) {
      outcome.finished = std::move(*finished);
      return false;
    } else {
      outcome.error = std::get<Failed>(event).error.message;
      return false;
    }
    return true;
  }
  Outcome answer(Ids prompt, int n, std::vector<std::string> stop_strings = {}) {
    const auto generation = submit(std::move(prompt), n, std::move(stop_strings));
    run_dry();
    return read(*generation);
  }

  // The greedy continuation by a fresh engine of its own.
  Ids alone(const Ids& prompt, int n) const {
    const auto engine =
        Engine::create(model_, {.ctx_tokens = engine_->options().ctx_tokens}).value();
    Session session = engine->new_session().value();
    EXPECT_TRUE(session.append(prompt));
    Sampler sampler = Sampler::create({.temperature = 0}, model_->vocab_size()).value();
    Ids ids;
    EXPECT_TRUE(
        generate(session, *engine, sampler, {.max_tokens = n, .ignore_eos = true}, [&](int32_t id) {
          ids.push_back(id);
          return true;
        }));
    return ids;
  }
  Ids prompt(std::string_view text) const { return tokenizer_.encode(text).value(); }
  static Ids joined(const Ids& a, const Ids& b) {
    Ids all = a;
    all.insert(all.end(), b.begin(), b.end());
    return all;
  }

  std::shared_ptr<const Model> model_ = load_model(kModel).value();
  Tokenizer tokenizer_ = Tokenizer::load(kModel + "/tokenizer.json").value();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<GenerationLoop> loop_;
};

TEST_F(GenerationLoopTest, AnAnswerIsWhatTheEngineGives) {
  start(2);
  const Ids asked = prompt("In the beginning God created");
  const Outcome outcome = answer(asked, 20);
  EXPECT_EQ(outcome.n_cached, 0);
  EXPECT_EQ(outcome.ids, alone(asked, 20));
  EXPECT_EQ(outcome.text, tokenizer_.decode(outcome.ids));
  ASSERT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.finished->reason, FinishReason::length);
  EXPECT_EQ(outcome.finished->n_sampled, 20);
  EXPECT_EQ(outcome.finished->ids, outcome.ids);
  EXPECT_EQ(outcome.finished->text, outcome.text);
}

TEST_F(GenerationLoopTest, AnAnswerFollowsItsGrammarAndEndsWithIt) {
  start(2);
  const int vocab = engine_->model().vocab_size();
  const auto compiler = GrammarCompiler::create(tokenizer_, vocab, {}).value();
  const auto ask = [&](const std::string& schema) {
    GenerationRequest request = greedy(prompt("In the beginning"), 40);
    request.ignore_eos = false;
    request.grammar = compiler->compile_json_schema(schema).value();
    return loop_->submit(std::move(request));
  };
  // Two at once, each with its own; behind the bracket nothing may follow.
  const auto one = ask(R"({"const": ["amber"]})");
  const auto other = ask(R"({"const": ["falcon"]})");
  const auto free = submit(prompt("In the beginning"), 20);
  run_dry();
  const Outcome first = read(*one), second = read(*other), third = read(*free);
  EXPECT_EQ(first.text, R"(["amber"])");
  EXPECT_EQ(second.text, R"(["falcon"])");
  ASSERT_TRUE(first.finished);
  EXPECT_EQ(first.finished->reason, FinishReason::end_token);
  EXPECT_EQ(first.finished->n_sampled, static_cast<int>(first.ids.size()));
  EXPECT_EQ(third.ids, alone(prompt("In the beginning"), 20));
}

// A grammar that needs what no token spells: that answer fails and the others go on.
TEST_F(GenerationLoopTest, AnAnswerThatCannotGoOnFails) {
  start(2);
  const int vocab = engine_->model().vocab_size();
  Ids all(static_cast<size_t>(vocab));
  for (int32_t id = 0; id < vocab; ++id) all[static_cast<size_t>(id)] = id;
  const auto mute = GrammarCompiler::create(tokenizer_, vocab, all).value();
  GenerationRequest request = greedy(prompt("In the beginning"), 40);
  request.ignore_eos = false;
  request.grammar = mute->compile_json_schema(R"({"const": 1})").value();
  const auto failing = loop_->submit(std::move(request));
  const auto free = submit(prompt("In the beginning"), 20);
  run_dry();
  EXPECT_EQ(read(*failing).error, "no token of the vocabulary goes on with the JSON");
  EXPECT_EQ(read(*free).ids, alone(prompt("In the beginning"), 20));
  EXPECT_EQ(loop_->stats().n_failed, 1U);
}

TEST_F(GenerationLoopTest, WhatASessionKnowsIsNotReadAgain) {
  start(2);
  const Ids first = prompt("In the beginning God created the heaven and the earth.");
  const Outcome once = answer(first, 10);
  // The last token that was sampled has not been read.
  const Ids longer = joined(joined(first, once.ids), prompt(" And the earth was without form"));
  const Outcome again = answer(longer, 10);
  EXPECT_EQ(again.n_cached, static_cast<int>(first.size() + once.ids.size()) - 1);
  EXPECT_EQ(again.ids, alone(longer, 10));
  // The same prompt again: all of it is there, the model reads none of it.
  const uint64_t n_read = loop_->stats().n_read_tokens;
  const Outcome same = answer(first, 10);
  EXPECT_EQ(same.n_cached, static_cast<int>(first.size()));
  EXPECT_EQ(same.ids, once.ids);
  EXPECT_EQ(loop_->stats().n_read_tokens, n_read + 9);
}

TEST_F(GenerationLoopTest, NeighboursChangeNothing) {
  start(3);
  const std::vector<Ids> prompts = {prompt("And it came to pass"), prompt("The LORD is"),
                                    prompt("Blessed are the meek: for they shall inherit"),
                                    prompt("And God said, Let there be")};
  std::vector<std::shared_ptr<Generation>> generations;
  generations.reserve(prompts.size());
  for (const Ids& one : prompts) generations.push_back(submit(one, 25));
  EXPECT_EQ(loop_->stats().n_running, 0);
  loop_->advance();
  EXPECT_EQ(loop_->stats().n_running, 3);
  EXPECT_EQ(loop_->stats().n_waiting, 1);
  run_dry();
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(read(*generations[i]).ids, alone(prompts[i], 25));
  }
  EXPECT_EQ(loop_->stats().n_cut, 4U);
}

TEST_F(GenerationLoopTest, AStopStringEndsAnAnswerInsideOfItsTokens) {
  start(1);
  const Ids asked = prompt("In the beginning God created");
  const Outcome whole = answer(asked, 20);
  // From the middle of one token into the next one.
  const size_t begin = tokenizer_.piece(whole.ids[0]).size() + 1;
  ASSERT_GE(tokenizer_.piece(whole.ids[1]).size(), 2U);
  const std::string stop = whole.text.substr(begin, tokenizer_.piece(whole.ids[1]).size());
  ASSERT_EQ(whole.text.find(stop), begin);
  const Outcome cut = answer(asked, 20, {"no such text", stop});
  EXPECT_EQ(cut.text, whole.text.substr(0, begin));
  ASSERT_TRUE(cut.finished);
  EXPECT_EQ(cut.finished->reason, FinishReason::stop_string);
  EXPECT_EQ(cut.finished->stop_string, stop);
  EXPECT_EQ(cut.finished->n_sampled, 3);
  EXPECT_EQ(cut.finished->ids, Ids({whole.ids[0]}));
  EXPECT_EQ(cut.finished->text, tokenizer_.piece(whole.ids[0]));
}

TEST_F(GenerationLoopTest, AnEndTokenIsNotHandedOut) {
  start(1);
  const Ids asked = prompt("In the beginning God created");
  const Ids ids = alone(asked, 20);
  const auto end =
      std::find_if(ids.begin() + 1, ids.end(), [&](int32_t id) { return id != ids.front(); });
  ASSERT_NE(end, ids.end());
  GenerationRequest request = greedy(asked, 20);
  request.end_ids = {*end};
  const auto generation = loop_->submit(std::move(request));
  run_dry();
  const Outcome outcome = read(*generation);
  EXPECT_EQ(outcome.ids, Ids(ids.begin(), end));
  ASSERT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.finished->reason, FinishReason::end_token);
}

TEST_F(GenerationLoopTest, LogprobsAreThoseOfTheLogits) {
  start(1);
  GenerationRequest request = greedy(prompt("In the beginning"), 5);
  request.n_top_logprobs = 3;
  const auto generation = loop_->submit(std::move(request));
  run_dry();
  const Outcome outcome = read(*generation);
  ASSERT_EQ(outcome.tokens.size(), 5U);
  for (const SampledToken& token : outcome.tokens) {
    ASSERT_EQ(token.top.size(), 3U);
    EXPECT_EQ(token.top[0].id, token.id);  // greedy
    EXPECT_EQ(token.top[0].logprob, token.logprob);
    EXPECT_LE(token.logprob, 0);
    EXPECT_GE(token.top[0].logprob, token.top[1].logprob);
    EXPECT_GE(token.top[1].logprob, token.top[2].logprob);
  }
  const std::vector<float> logits = {0, 1, 1, -INFINITY, NAN};
  const SampledToken token = with_logprobs(logits, 0, 9);
  const float log_sum = std::log(1 + 2 * std::exp(1.0F));
  EXPECT_NEAR(token.logprob, -log_sum, 1e-6);
  ASSERT_EQ(token.top.size(), 5U);
  EXPECT_EQ(token.top[0].id, 1);
  EXPECT_EQ(token.top[1].id, 2);
  EXPECT_NEAR(token.top[0].logprob, 1 - log_sum, 1e-6);
  EXPECT_EQ(token.top[4].logprob, -INFINITY);
}

TEST_F(GenerationLoopTest, NoTokensAreWantedOrTheContextIsFull) {
  start(1, {}, 40);
  const Outcome none = answer(Ids(30, 20), 0);
  ASSERT_TRUE(none.finished);
  EXPECT_EQ(none.finished->reason, FinishReason::length);
  EXPECT_EQ(none.finished->n_sampled, 0);
  EXPECT_TRUE(none.ids.empty());
  // A token that is sampled at the end of the context needs no place in it.
  const Outcome full = answer(Ids(30, 20), 1000);
  ASSERT_TRUE(full.finished);
  EXPECT_EQ(full.n_cached, 30);
  EXPECT_EQ(full.finished->n_sampled, 11);
  EXPECT_TRUE(answer(Ids(40, 20), 1000).finished);
  const Outcome beyond = answer(Ids(41, 20), 1000);
  EXPECT_EQ(beyond.error, "the prompt has 41 tokens; the context holds 40");
}

TEST_F(GenerationLoopTest, WhatIsAskedForIsHeldAgainstTheModel) {
  start(1, {}, 40);
  const auto problem = [&](GenerationRequest request) {
    const Result<void> checked = loop_->check(request);
    return checked ? "" : checked.error().message;
  };
  EXPECT_EQ(problem(greedy({1, 2}, 1)), "");
  EXPECT_EQ(problem(greedy({}, 1)), "the prompt has no tokens");
  EXPECT_TRUE(problem(greedy({1, -1}, 1)).starts_with("token 1 of the prompt has id -1; "));
  GenerationRequest hot = greedy({1}, 1);
  hot.sampling.temperature = -1;
  EXPECT_EQ(problem(hot), "temperature -1: expected 0 or more");
}

TEST_F(GenerationLoopTest, AnswersThatNobodyWaitsForGiveTheirPlaceAway) {
  start(1);
  const Ids asked = prompt("In the beginning God created the heaven");
  const auto running = submit(asked, 500);
  const auto waiting = submit(prompt("And it came to pass"), 500);
  const auto last = submit(prompt("Blessed are"), 5);
  for (int i = 0; i < 4; ++i) loop_->advance();
  EXPECT_EQ(loop_->stats().n_running, 1);
  EXPECT_EQ(loop_->stats().n_waiting, 2);
  running->cancel();
  waiting->cancel();
  run_dry();
  EXPECT_EQ(read(*last).ids, alone(prompt("Blessed are"), 5));
  EXPECT_EQ(loop_->stats().n_cancelled, 2U);
  EXPECT_EQ(loop_->stats().n_running, 0);
  EXPECT_FALSE(read(*running).finished);
  EXPECT_EQ(read(*waiting).n_cached, -1);
}

TEST_F(GenerationLoopTest, APromptThatWasGivenUpKeepsWhatWasRead) {
  engine_ =
      Engine::create(model_, {.ctx_tokens = 600, .n_sessions = 2, .chunk_tokens = 64}).value();
  loop_ = std::make_unique<GenerationLoop>(*engine_, tokenizer_, LoopOptions{});
  Ids asked;
  for (int32_t i = 0; i < 300; ++i) asked.push_back(10 + i % 50);
  const auto generation = submit(asked, 5);
  loop_->advance();
  loop_->advance();
  generation->cancel();
  run_dry();
  EXPECT_EQ(loop_->stats().n_read_tokens, 128U);
  const Outcome again = answer(asked, 5);
  EXPECT_EQ(again.n_cached, 128);
  EXPECT_EQ(again.ids, alone(asked, 5));
}

TEST_F(GenerationLoopTest, ASlowReaderHoldsUpNobodyElse) {
  start(2, {.max_waiting = 8, .max_pieces = 3});
  const Ids asked = prompt("In the beginning God created");
  const auto slow = submit(asked, 20);
  const auto quick = submit(prompt("And it came to pass"), 3);
  run_dry();
  EXPECT_TRUE(read(*quick).finished);
  EXPECT_EQ(loop_->stats().n_running, 1);
  Outcome outcome;
  while (true) {
    const auto event = slow->next(Generation::Clock::now());
    if (!event) {
      ASSERT_TRUE(loop_->advance());
      continue;
    }
    if (!take(*event, outcome)) break;
  }
  EXPECT_EQ(outcome.ids, alone(asked, 20));
}

TEST_F(GenerationLoopTest, TheQueueIsBounded) {
  start(1, {.max_waiting = 2});
  EXPECT_NE(submit({5}, 3), nullptr);
  EXPECT_NE(submit({6}, 3), nullptr);
  EXPECT_EQ(submit({7}, 3), nullptr);
  EXPECT_EQ(loop_->stats().n_refused, 1U);
  loop_->advance();  // one of them runs
  EXPECT_NE(submit({7}, 3), nullptr);
}

TEST_F(GenerationLoopTest, SessionsAreForkedRewoundPinnedAndRemoved) {
  start(3);
  const Ids asked = prompt("In the beginning God created the heaven and the earth.");
  const Outcome before = answer(asked, 10);
  std::thread thread([&] { loop_->run(); });
  EXPECT_TRUE(loop_->visit([&](SessionPool& pool) {
    const KeptSession first = pool.list().at(0);
    EXPECT_EQ(first.n_tokens, static_cast<int>(asked.size()) + 9);
    const KeptSession twin = pool.fork(first.id).value();
    EXPECT_EQ(twin.n_tokens, first.n_tokens);
    EXPECT_EQ(pool.rewind(twin.id, 5).value().n_tokens, 5);
    EXPECT_EQ(pool.ids(twin.id).value(), Ids(asked.begin(), asked.begin() + 5));
    EXPECT_EQ(pool.rewind(twin.id, 6).error().message,
              "session 2 cannot be rewound to 6 tokens: it has 5");
    EXPECT_TRUE(pool.pin(first.id, true).value().is_pinned);
    EXPECT_EQ(pool.list().size(), 2U);
    EXPECT_TRUE(pool.pin(twin.id, true));
    const KeptSession third = pool.fork(first.id).value();
    EXPECT_EQ(pool.pin(third.id, true).error().message,
              "session 3 cannot be pinned: of 3 sessions 2 are pinned and 0 run, and one is left "
              "for requests");
    EXPECT_FALSE(pool.pin(twin.id, false).value().is_pinned);
    EXPECT_TRUE(pool.pin(third.id, true));
    EXPECT_EQ(pool.rewind(third.id, 7).value().n_tokens, 7);
    EXPECT_TRUE(pool.remove(third.id));
    EXPECT_EQ(pool.remove(third.id).error().message, "there is no session 3");
    EXPECT_EQ(pool.fork(99).error().message, "there is no session 99");
  }));
  // What others do meanwhile does not touch a pinned one.
  for (int i = 0; i < 5; ++i) {
    const auto other = submit(Ids(500, 10 + i), 3);
    Outcome outcome;
    while (take(*other->next(Generation::Clock::now() + std::chrono::minutes(1)), outcome))
      continue;
  }
  const auto same = submit(asked, 10);
  Outcome outcome;
  while (take(*same->next(Generation::Clock::now() + std::chrono::minutes(1)), outcome)) continue;
  EXPECT_EQ(outcome.ids, before.ids);
  loop_->stop();
  thread.join();
  EXPECT_FALSE(loop_->visit([](SessionPool&) { FAIL(); }));
}

TEST_F(GenerationLoopTest, ASessionThatGoesOnKeepsItsName) {
  start(1);
  const Ids asked = prompt("In the beginning God created the heaven");
  const Outcome first = answer(asked, 5);
  answer(prompt("And it came to pass"), 5);
  answer(joined(joined(asked, first.ids), prompt(" And")), 5);
  std::thread thread([&] { loop_->run(); });
  std::vector<KeptSession> list;
  EXPECT_TRUE(loop_->visit([&](SessionPool& of_loop) { list = of_loop.list(); }));
  loop_->stop();
  thread.join();
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].id, 1U);
  EXPECT_EQ(list[1].id, 2U);
}

TEST_F(GenerationLoopTest, OldSessionsAreForgottenButNotPinnedOnes) {
  start(2);
  SessionPool pool(*engine_);
  const auto leave = [&](int32_t id) {
    Session session = pool.acquire(Ids({id, id})).value();
    while (session.n_pending() > 0) engine_->step();
    pool.release(std::move(session));
  };
  leave(10);
  ASSERT_TRUE(pool.pin(1, true));
  for (int32_t i = 1; i <= 70; ++i) leave(10 + i);
  EXPECT_EQ(pool.n_kept(), static_cast<int>(SessionPool::kMaxKept));
  EXPECT_EQ(pool.n_kept_tokens(), 2 * static_cast<int64_t>(SessionPool::kMaxKept));
  EXPECT_EQ(pool.list().front().id, 71U);
  EXPECT_EQ(pool.list().back().id, 1U);
  EXPECT_EQ(pool.ids(2).error().message, "there is no session 2");
}

TEST_F(GenerationLoopTest, ManyThreadsAskOne) {
  start(2, {.max_waiting = 64, .max_pieces = 2});
  const std::vector<Ids> prompts = {prompt("And it came to pass"), prompt("The LORD is"),
                                    prompt("Blessed are the meek")};
  std::vector<Ids> expected;
  expected.reserve(prompts.size());
  for (const Ids& one : prompts) expected.push_back(alone(one, 12));
  std::thread engine([&] { loop_->run(); });
  std::vector<std::thread> clients;
  clients.reserve(6);
  for (size_t i = 0; i < 6; ++i) {
    clients.emplace_back([&, i] {
      for (size_t turn = 0; turn < 3; ++turn) {
        const size_t which = (i + turn) % prompts.size();
        const auto generation = submit(prompts[which], 12);
        ASSERT_NE(generation, nullptr);
        const bool gives_up = (i + turn) % 4 == 3;
        Outcome outcome;
        while (true) {
          auto event = generation->next(Generation::Clock::now() + std::chrono::minutes(1));
          ASSERT_TRUE(event);
          if (!take(std::move(*event), outcome)) break;
          if (!gives_up || outcome.ids.size() < 3) continue;
          generation->cancel();
          break;
        }
        if (gives_up) continue;
        EXPECT_EQ(outcome.ids, expected[which]);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const auto cut_off = submit(prompts[0], 500);
  loop_->stop();
  engine.join();
  EXPECT_EQ(read(*cut_off).error, "the server is shutting down");
  EXPECT_EQ(submit(prompts[0], 5), nullptr);
}

}  // namespace
}  // namespace varve::server
