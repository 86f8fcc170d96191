#include "eval/needle.h"

#include <algorithm>
#include <limits>

#include "eval/eval_models.h"

namespace varve {
namespace {

Tokenizer bundled_tokenizer() {
  return Tokenizer::load(std::string(VARVE_SOURCE_DIR) + "/models/varve-tiny/tokenizer.json")
      .value();
}

TEST(Haystack, IsCutIntoSentences) {
  const Haystack stack = Haystack::from_text("One. Two? \n Three\n\nv1.5 is four!", "f").value();
  ASSERT_EQ(stack.n_sentences(), 4u);
  EXPECT_EQ(stack.sentence(0), "One.");
  EXPECT_EQ(stack.sentence(1), "Two?");
  EXPECT_EQ(stack.sentence(2), "Three");
  EXPECT_EQ(stack.sentence(7), "v1.5 is four!");  // from the first again
  const auto empty = Haystack::from_text(" \n ", "empty.txt");
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().message.find("empty.txt"), 0u);
}

TEST(NeedleDocument, HoldsTheFactAtItsDepthAndAsksForIt) {
  const Tokenizer tokenizer = bundled_tokenizer();
  const Haystack stack = Haystack::built_in();
  for (const int length : {128, 512, 1000}) {
    for (const int depth : {0, 30, 100}) {
      const NeedleDocument document =
          make_needle_document(tokenizer, stack,
                               {.length = length, .depth_percent = depth, .bos_id = 0, .seed = 5})
              .value();
      EXPECT_LE(document.ids.size(), static_cast<size_t>(length));
      EXPECT_GT(document.ids.size(), static_cast<size_t>(length) - 60);  // the longest sentence
      EXPECT_EQ(document.ids.front(), 0);
      const std::string question = "The code of the " + document.name + " is ";
      const std::string fact = question + document.code + ".\n";
      const size_t at = document.text.find(fact);
      ASSERT_NE(at, std::string::npos);
      const size_t n_filler = document.text.size() - fact.size() - question.size() - 2;
      EXPECT_NEAR(100.0 * static_cast<double>(at) / static_cast<double>(n_filler), depth,
                  100 * 100.0 / static_cast<double>(n_filler));  // a sentence
      EXPECT_TRUE(document.text.ends_with(question + document.code));
      EXPECT_EQ(document.n_answer, 2);  // digits are tokens of their own
      const auto answer = std::span(document.ids).last(2);
      EXPECT_EQ(tokenizer.decode(answer), document.code);
    }
  }
}

TEST(NeedleDocument, DependsOnItsSeedAlone) {
  const Tokenizer tokenizer = bundled_tokenizer();
  const Haystack stack = Haystack::built_in();
  const auto make = [&](uint64_t seed) {
    return make_needle_document(tokenizer, stack,
                                {.length = 256, .depth_percent = 50, .seed = seed})
        .value()
        .text;
  };
  EXPECT_EQ(make(1), make(1));
  EXPECT_NE(make(1), make(2));
}

TEST(NeedleDocument, TooShortIsRefused) {
  const auto refused =
      make_needle_document(bundled_tokenizer(), Haystack::built_in(), {.length = 20});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::usage);
  EXPECT_NE(refused.error().message.find("--lengths 20"), std::string::npos);
}

void expect_same_as_alone(const std::shared_ptr<const Model>& model,
                          std::span<const NeedleDocument> documents, int ctx_tokens) {
  const EngineOptions options{.ctx_tokens = ctx_tokens,
                              .resume_points = 1,
                              .resume_interval_tokens = std::numeric_limits<int>::max()};
  auto engine = Engine::create(model, options).value();
  size_t heard = 0;
  const NeedleMap map = find_needles(*engine, documents, [&](size_t n) { heard = n; }).value();
  EXPECT_EQ(heard, documents.size());
  ASSERT_EQ(map.answers.size(), documents.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    auto fresh = Engine::create(model, options).value();
    const NeedleMap alone = find_needles(*fresh, documents.subspan(i, 1), [](size_t) {}).value();
    const auto &a = map.answers[i].tokens, &b = alone.answers[0].tokens;
    ASSERT_EQ(a.size(), static_cast<size_t>(documents[i].n_answer));
    ASSERT_EQ(a.size(), b.size());
    for (size_t t = 0; t < a.size(); ++t) {
      EXPECT_EQ(a[t].rank, b[t].rank);
      EXPECT_EQ(a[t].probability, b[t].probability);
    }
  }
}

TEST(Needles, WhatDocumentsShareIsReadOnceAndChangesNothing) {
  const auto model = bundled_model();
  const NeedleOptions options{
      .lengths = {200, 300}, .depths_percent = {50, 0, 100}, .n_documents = 2};
  const auto documents =
      make_needle_documents(bundled_tokenizer(), Haystack::built_in(), model->bos_id(), options)
          .value();
  ASSERT_EQ(documents.size(), 12u);
  EXPECT_EQ(documents[1].depth_percent, 50);  // ascending, whatever the order asked for
  expect_same_as_alone(model, documents, 300);
}

TEST(Needles, NorWhereAllOfThePastLiesInBlocks) {
  std::vector<NeedleDocument> documents;
  for (const int at : {20, 60, 61, 5}) {
    NeedleDocument document;
    document.length = 130;
    document.depth_percent = at;
    document.ids = some_ids(130);
    document.n_answer = 2;
    document.ids[static_cast<size_t>(at)] = 95;
    documents.push_back(document);
  }
  documents.push_back(documents.back());  // the same again
  expect_same_as_alone(gqa_model(), documents, 130);
}

TEST(Needles, CellsCountWhatIsRight) {
  const NeedleOptions options{.lengths = {10, 20}, .depths_percent = {0, 50}, .n_documents = 2};
  NeedleMap map;
  for (const int length : options.lengths) {
    for (const int depth : options.depths_percent) {
      map.answers.push_back({length, depth, {{0, 0.5}, {0, 0.5}}});
      map.answers.push_back({length, depth, {{0, 0.5}, {depth, 0.25}}});
    }
  }
  const auto cells = map.cells(options);
  ASSERT_EQ(cells.size(), 4u);
  EXPECT_EQ(cells[1].length, 10);
  EXPECT_EQ(cells[1].depth_percent, 50);
  EXPECT_EQ(cells[0].n, 2);
  EXPECT_EQ(cells[0].right.mean, 1);
  EXPECT_EQ(cells[1].right.mean, 0.5);
  EXPECT_EQ(cells[1].probability.mean, (0.25 + 0.125) / 2);
  EXPECT_EQ(map.right().mean, 0.75);
}

}  // namespace
}  // namespace varve
